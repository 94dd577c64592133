package daemon

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"reflect"
	"slices"
	"sync"
	"unsafe"

	"wanctl/internal/actuate"
	"wanctl/internal/reflector"
	"wanctl/internal/shaper"
	"wanctl/internal/tracking"
)

// An image is all that a loop knows at one instant, so that a recording can be replayed from the middle. It is taken by
// reflection and not by a method of each type: a field that somebody forgot would make every replay lie, and an image
// needs to be read only by a program whose types are the same, which its layout tells.

// notState are types that are given at construction, by the configuration, or that nothing is decided from.
var notState = []reflect.Type{
	reflect.TypeFor[WANOptions](), reflect.TypeFor[shares](), reflect.TypeFor[remains](),
	reflect.TypeFor[shaper.Config](), reflect.TypeFor[tracking.Config](), reflect.TypeFor[actuate.Config](), reflect.TypeFor[reflector.Config](),
}

// ErrLayout says that an image is of a program whose types are others.
var ErrLayout = errors.New("the state in it is of another version of wanctl")

// errImage says that an image does not fit what it is for.
var errImage = errors.New("the image is damaged, or of another configuration")

// Image returns all that the loop knows, and the layout that it is in.
func (w *WAN) Image() (layout uint64, data []byte) {
	i := image{}
	i.walk(reflect.ValueOf(w).Elem())
	return layoutOfWAN(), i.b
}

// SetImage takes all over that another loop of the same configuration knew. After a failure the loop is not to be used.
func (w *WAN) SetImage(layout uint64, data []byte) error {
	if layout != layoutOfWAN() {
		return ErrLayout
	}
	i := image{b: data, taking: true}
	i.walk(reflect.ValueOf(w).Elem())
	if i.bad || len(i.b) > 0 {
		return errImage
	}
	return nil
}

// image is a walk through a value, in the order of its fields: it gives what it meets, or takes it.
type image struct {
	b      []byte
	taking bool
	bad    bool
}

func (i *image) uint(v uint64) uint64 {
	if !i.taking {
		i.b = binary.AppendUvarint(i.b, v)
		return v
	}
	v, n := binary.Uvarint(i.b)
	if n <= 0 {
		i.bad, i.b = true, nil
		return 0
	}
	i.b = i.b[n:]
	return v
}

func (i *image) walk(v reflect.Value) {
	if i.bad {
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		n := uint64(0)
		if v.Bool() {
			n = 1
		}
		if n = i.uint(n); i.taking {
			v.SetBool(n == 1)
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n := v.Int()
		if u := i.uint(uint64(n<<1 ^ n>>63)); i.taking {
			v.SetInt(int64(u>>1) ^ -int64(u&1))
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if u := i.uint(v.Uint()); i.taking {
			v.SetUint(u)
		}
	case reflect.Float32, reflect.Float64:
		// A delay or a rate has its last bits at the end of the number: turned around, most are short.
		if u := i.uint(reverse(math.Float64bits(v.Float()))); i.taking {
			v.SetFloat(math.Float64frombits(reverse(u)))
		}
	case reflect.String:
		i.text(v)
	case reflect.Array:
		for k := range v.Len() {
			i.walk(v.Index(k))
		}
	case reflect.Slice:
		n := i.uint(uint64(v.Len()))
		if i.taking {
			if n > uint64(len(i.b))+1 {
				i.bad = true
				return
			}
			v.Set(reflect.MakeSlice(v.Type(), int(n), int(n)))
		}
		for k := range v.Len() {
			i.walk(v.Index(k))
		}
	case reflect.Pointer:
		n := uint64(0)
		if !v.IsNil() {
			n = 1
		}
		n = i.uint(n)
		switch {
		case !i.taking:
		case n == 0:
			v.SetZero()
		case v.IsNil() && handIn(v.Type().Elem()):
			i.bad = true // the loop was built without what this is of
			return
		case v.IsNil():
			v.Set(reflect.New(v.Type().Elem()))
		}
		if n == 1 {
			i.walk(v.Elem())
		}
	case reflect.Struct:
		if slices.Contains(notState, v.Type()) {
			return
		}
		for k := range v.NumField() {
			f := v.Field(k)
			i.walk(reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem())
		}
	default: // interfaces are the hands, given at construction; layoutOf refuses all else
	}
}

func (i *image) text(v reflect.Value) {
	n := i.uint(uint64(v.Len()))
	if !i.taking {
		i.b = append(i.b, v.String()...)
		return
	}
	if n > uint64(len(i.b)) {
		i.bad = true
		return
	}
	v.SetString(string(i.b[:n]))
	i.b = i.b[n:]
}

// reverse turns the order of a number's bytes around.
func reverse(u uint64) uint64 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], u)
	return binary.BigEndian.Uint64(b[:])
}

// handIn says whether a type has hands in it, which no image can make.
func handIn(t reflect.Type) bool {
	if t.Kind() != reflect.Struct {
		return false
	}
	for k := range t.NumField() {
		if t.Field(k).Type.Kind() == reflect.Interface {
			return true
		}
	}
	return false
}

var layoutOfWAN = sync.OnceValue(func() uint64 { return layoutOf(reflect.TypeFor[WAN]()) })

// layoutOf names the types below t with all their fields: images are exchanged among programs with the same.
func layoutOf(t reflect.Type) uint64 {
	h := fnv.New64a()
	describe(h, t, 0)
	return h.Sum64()
}

// deepest bounds the nesting of types.
const deepest = 20

func describe(w io.Writer, t reflect.Type, depth int) {
	if depth > deepest {
		panic("daemon: a type of the loop holds itself: " + t.String())
	}
	fmt.Fprint(w, t.Kind(), " ")
	switch t.Kind() {
	case reflect.Struct:
		if slices.Contains(notState, t) {
			return
		}
		for k := range t.NumField() {
			fmt.Fprint(w, t.Field(k).Name, " ")
			describe(w, t.Field(k).Type, depth+1)
		}
		fmt.Fprint(w, "end ")
	case reflect.Array:
		fmt.Fprint(w, t.Len(), " ")
		describe(w, t.Elem(), depth+1)
	case reflect.Slice, reflect.Pointer:
		describe(w, t.Elem(), depth+1)
	case reflect.Map, reflect.Chan, reflect.Func, reflect.UnsafePointer, reflect.Complex64, reflect.Complex128, reflect.Uintptr:
		panic("daemon: the loop's state holds a " + t.Kind().String() + " (" + t.String() + "), which no image can hold")
	default:
	}
}
