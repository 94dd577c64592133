package capacity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// web reads from and posts to a web server.
type web struct {
	urls    link.Pair[string]
	streams int
	path    Path
}

const (
	// postSize is the body of one upload. A server that takes less says so (413).
	postSize = 256 << 20
	// smallAnswer is the least body that tells more of the line than of the time between two requests.
	smallAnswer unit.Bytes = 256 << 10
)

func newWeb(o *Options) *web {
	return &web{urls: link.Pair[string]{Down: o.Download, Up: o.Upload}, streams: o.Streams, path: o.Path}
}

// String names the server without what may be secret in the URL's query.
func (w *web) String() string {
	u, err := url.Parse(w.urls.Down)
	if w.urls.Down == "" {
		u, err = url.Parse(w.urls.Up)
	}
	if err != nil {
		return "web server"
	}
	return "web server " + u.Scheme + "://" + u.Host
}

func (w *web) can(d link.Direction) bool { return w.urls.Get(d) != "" }

// load keeps all streams busy until ctx ends.
func (w *web) load(ctx context.Context, d link.Direction, m *meter, ready func()) error {
	client := &http.Client{Transport: &http.Transport{
		// No proxy and no HTTP/2: each stream is a connection of its own to the server that was named.
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return m.dial(ctx, w.path, network, address)
		},
		Protocols:           http1(),
		MaxIdleConnsPerHost: w.streams, DisableCompression: true,
		TLSHandshakeTimeout: answerTime, ResponseHeaderTimeout: responseTime(d),
		MaxResponseHeaderBytes: 64 << 10,
	}}
	defer client.CloseIdleConnections()
	over, stop := context.WithCancel(ctx)
	defer stop()
	var first sync.Once
	begun := func() { first.Do(ready) }
	var got, answers atomic.Int64
	err := all(w.streams, stop, func(int) error {
		for over.Err() == nil {
			n, err := w.request(over, client, d, begun)
			if over.Err() != nil { // what is called off, fails
				return over.Err()
			}
			if err != nil {
				return err
			}
			if got.Add(n); d == link.Down && answers.Add(1) >= int64(4*w.streams) && unit.Bytes(got.Load()/answers.Load()) < smallAnswer {
				return &Error{
					Err:  fmt.Errorf("its answers have %d bytes", got.Load()/answers.Load()),
					Hint: "name a larger file: 100 MB or more",
				}
			}
		}
		return nil
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// responseTime bounds the wait for a download's headers; an upload's come after its body.
func responseTime(d link.Direction) time.Duration {
	if d == link.Down {
		return answerTime
	}
	return 0
}

// request makes one request and returns how large its answer was.
func (w *web) request(ctx context.Context, client *http.Client, d link.Direction, begun func()) (int64, error) {
	method, body := http.MethodGet, io.Reader(nil)
	post := &noise{begun: begun}
	post.left.Store(postSize)
	if d == link.Up {
		method, body = http.MethodPost, post
	}
	req, err := http.NewRequestWithContext(ctx, method, w.urls.Get(d), body)
	if err != nil {
		return 0, err
	}
	req.Header.Set("User-Agent", "wanctl")
	req.Header.Set("Accept-Encoding", "identity")
	req.Header.Set("Cache-Control", "no-cache")
	if d == link.Up {
		req.ContentLength = postSize
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	res, err := client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) { // whose text has the whole URL
			err = u.Err
		}
		return 0, err
	}
	defer res.Body.Close()
	hint := "name a URL that can be read"
	if d == link.Up {
		hint = "name a URL that takes uploads (POST) of any size"
	}
	switch { // by what its number means: the words beside it are anybody's, and end on a terminal
	case res.StatusCode < 200 || res.StatusCode > 299:
		return 0, &Error{Err: fmt.Errorf("it answers %d %s", res.StatusCode, http.StatusText(res.StatusCode)), Hint: hint}
	case d == link.Up && post.left.Load() > 0: // what it carried until then tells of its answers, not of the line
		return 0, &Error{Err: fmt.Errorf("it answers %d before it has taken the upload", res.StatusCode), Hint: hint}
	}
	begun()
	return io.Copy(io.Discard, res.Body)
}

// http1 allows HTTP/1 alone.
func http1() *http.Protocols {
	var p http.Protocols
	p.SetHTTP1(true)
	return &p
}

// noise is a body that nothing on the way can compress. What is left of it may be asked while it is read.
type noise struct {
	left  atomic.Int64
	begun func()
}

// Read fills b.
func (n *noise) Read(b []byte) (int, error) {
	n.begun()
	left := n.left.Load()
	if left <= 0 {
		return 0, io.EOF
	}
	k := copy(b[:min(int64(len(b)), left)], noiseBlock())
	n.left.Add(-int64(k))
	return k, nil
}
