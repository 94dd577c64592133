package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// The files of [Save] beside [ResultFile]; the plots are named by [Plots].
const (
	MarkdownFile = "report.md"
	HTMLFile     = "report.html"
)

// WriteMarkdown writes the report of a run. Pictures are linked as prefix + [Plot.Name]; without plots there are none.
func WriteMarkdown(w io.Writer, res *Result, plots []Plot, prefix string) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s under %s\n\n", markdown(res.Scenario), markdown(res.Controller))
	if res.About != "" {
		fmt.Fprintf(&b, "%s\n\n", markdown(res.About))
	}
	if !res.Valid {
		fmt.Fprint(&b, "**This run is not valid; its figures say nothing about the controller.**\n\n")
	}
	for _, s := range append(append([]string{}, res.Invalid...), res.Notes...) {
		fmt.Fprintf(&b, "- %s\n", markdown(s))
	}
	if len(res.Invalid)+len(res.Notes) > 0 {
		b.WriteByte('\n')
	}
	markdownSheet(&b, about(res))
	for i := range res.Links {
		l := &res.Links[i]
		fmt.Fprintf(&b, "## Link %s\n\n%s\n\n", markdown(l.Name), markdown(l.baseLine()))
		for _, p := range plots {
			if p.Link == i {
				fmt.Fprintf(&b, "![%s](%s)\n\n", markdown(p.Alt), prefix+p.Name)
			}
		}
		for _, s := range l.sheets() {
			markdownSheet(&b, s)
		}
	}
	fmt.Fprintf(&b, "%s\n", legend)
	_, err := w.Write(b.Bytes())
	return err
}

func markdownSheet(b *bytes.Buffer, s sheet) {
	fmt.Fprintf(b, "**%s**\n\n|", s.Title)
	for _, h := range s.Head {
		fmt.Fprintf(b, " %s |", h)
	}
	fmt.Fprintf(b, "\n|%s\n", strings.Repeat("---|", len(s.Head)))
	for _, r := range s.Rows {
		b.WriteByte('|')
		for _, c := range r {
			fmt.Fprintf(b, " %s |", markdown(c))
		}
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
}

var markdownEscape = strings.NewReplacer("\\", "\\\\", "|", "\\|", "<", "&lt;", ">", "&gt;", "&", "&amp;", "`", "\\`", "*", "\\*",
	"_", "\\_", "[", "\\[", "]", "\\]", "\n", " ", "\r", " ")

// markdown makes text of a scenario harmless.
func markdown(s string) string { return markdownEscape.Replace(s) }

// WriteHTML writes the report of a run as one file that needs nothing else.
func WriteHTML(w io.Writer, res *Result, plots []Plot) error {
	type section struct {
		Name, Base string
		Plots      []template.HTML
		Sheets     []sheet
	}
	page := struct {
		*Result
		Style  template.CSS
		About  string
		Run    sheet
		Legend string
		Parts  []section
	}{Result: res, Style: template.CSS(pageStyle + svgStyle), About: res.About, Run: about(res), Legend: legend}
	for i := range res.Links {
		l := &res.Links[i]
		s := section{Name: l.Name, Base: l.baseLine(), Sheets: l.sheets()}
		for _, p := range plots {
			if p.Link == i {
				s.Plots = append(s.Plots, template.HTML(p.inline()))
			}
		}
		page.Parts = append(page.Parts, s)
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, page); err != nil {
		return fmt.Errorf("write the report as HTML: %w", err)
	}
	_, err := w.Write(b.Bytes())
	return err
}

const pageStyle = `:root{color-scheme:light dark;--bg:#fff;--fg:#222;--rule:#ddd;--bad:#b3122f}` +
	`@media(prefers-color-scheme:dark){:root{--bg:#15181c;--fg:#ddd;--rule:#3a3f45;--bad:#ff6b81}}` +
	`body{margin:0 auto;padding:1rem;max-width:70rem;background:var(--bg);color:var(--fg);font:16px/1.45 system-ui,sans-serif}` +
	`h1{font-size:1.5rem}h2{font-size:1.25rem;margin-top:2rem}h3{font-size:1rem;margin:1.5rem 0 .3rem}` +
	`.wide{overflow-x:auto}svg.plot{display:block;width:100%;min-width:40rem;height:auto;margin:.3rem 0}` +
	`table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}` +
	`th,td{padding:.2rem .6rem;border-bottom:1px solid var(--rule);text-align:right;white-space:nowrap}` +
	`th:first-child,td:first-child,.text th,.text td{text-align:left}.text td{white-space:normal}` +
	`.bad{border-left:4px solid var(--bad);padding:.1rem 1rem}`

var pageTemplate = template.Must(template.New("report").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>{{.Scenario}} under {{.Controller}}</title>
<style>{{.Style}}</style>
</head>
<body>
<h1>{{.Scenario}} under {{.Controller}}</h1>
{{with .About}}<p>{{.}}</p>
{{end}}{{if not .Valid}}<div class="bad"><p><strong>This run is not valid; its figures say nothing about the controller.</strong></p>
<ul>{{range .Invalid}}<li>{{.}}</li>{{end}}</ul></div>
{{end}}{{with .Notes}}<ul>{{range .}}<li>{{.}}</li>{{end}}</ul>
{{end}}{{range .Parts}}<h2>Link {{.Name}}</h2>
<p>{{.Base}}</p>
{{range .Plots}}<div class="wide">{{.}}</div>
{{end}}{{range .Sheets}}{{template "sheet" .}}{{end}}{{end}}<p>{{.Legend}}</p>
<div class="text">{{template "sheet" .Run}}</div>
</body>
</html>
{{define "sheet"}}<h3>{{.Title}}</h3>
<div class="wide"><table>
<thead><tr>{{range .Head}}<th scope="col">{{.}}</th>{{end}}</tr></thead>
<tbody>
{{range .Rows}}<tr>{{range .}}<td>{{.}}</td>{{end}}</tr>
{{end}}</tbody>
</table></div>
{{end}}`))

// WriteJSON writes a result as [ResultFile] holds it.
func (r *Result) WriteJSON(w io.Writer) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("write the result of %s under %s: %w", r.Scenario, r.Controller, err)
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// maxResult bounds a [ResultFile].
const maxResult = 16 << 20

// ReadResult reads what [Result.WriteJSON] wrote.
func ReadResult(r io.Reader) (*Result, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxResult+1))
	if err != nil {
		return nil, fmt.Errorf("read a result: %w", err)
	}
	if len(b) > maxResult {
		return nil, fmt.Errorf("read a result: longer than %d MiB, is it one?", maxResult>>20)
	}
	res := &Result{}
	if err := json.Unmarshal(b, res); err != nil {
		return nil, fmt.Errorf("read a result (want the %s of a laboratory run): %w", ResultFile, err)
	}
	switch {
	case res.Schema != Schema:
		return nil, fmt.Errorf("read a result: schema is %d, this program reads %d; evaluate the run's directory again", res.Schema, Schema)
	case res.Controller == "" || res.Scenario == "":
		return nil, errors.New("read a result: it names no controller or no scenario; evaluate the run's directory again")
	}
	return res, nil
}

// Save writes figures, report and pictures into a run's directory.
func Save(dir string, raw *Raw, res *Result) error {
	plots, err := Plots(raw, res)
	if err != nil {
		return err
	}
	files := map[string]func(io.Writer) error{
		ResultFile:   res.WriteJSON,
		MarkdownFile: func(w io.Writer) error { return WriteMarkdown(w, res, plots, "") },
		HTMLFile:     func(w io.Writer) error { return WriteHTML(w, res, plots) },
	}
	for _, p := range plots {
		files[p.Name] = func(w io.Writer) error {
			_, err := w.Write(p.SVG)
			return err
		}
	}
	for name, write := range files {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o644); err != nil {
			return fmt.Errorf("save the report (is there room on the disk?): %w", err)
		}
	}
	return nil
}
