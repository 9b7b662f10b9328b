package bookinfo

import (
	"embed"
	"encoding/json"
	"html/template"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

//go:embed page
var pageFiles embed.FS

// page renders the HTML. Everything it needs is in the page: style, drawings,
// no script, nothing from elsewhere.
type page struct {
	templates *template.Template
}

func newPage() *page {
	style, err := pageFiles.ReadFile("page/style.css")
	if err != nil {
		panic(err) // it is embedded
	}
	funcs := template.FuncMap{
		"style": func() template.CSS { return template.CSS(style) },
		"html":  func(s string) template.HTML { return template.HTML(s) }, // only of our own catalogue
		"stars": func(n int) string { return strings.Repeat("★", min(max(n, 0), 5)) },
		"rest":  func(n int) string { return strings.Repeat("★", 5-min(max(n, 0), 5)) },
		"ms":    milliseconds,
	}
	return &page{templates: template.Must(template.New("").Funcs(funcs).ParseFS(pageFiles, "page/*.html"))}
}

func milliseconds(d time.Duration) string {
	return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 1, 64) + " ms"
}

func (p *page) execute(w io.Writer, name string, v view) error {
	return p.templates.ExecuteTemplate(w, name+".html", v)
}

// view is what the page shows.
type view struct {
	User    string
	Pod     string
	Product product

	Details      *bookDetails // nil when there was an error
	DetailsError string
	DetailsCall  result

	Reviews      *bookReviews // nil when there was an error
	ReviewsError string
	ReviewsCall  result
	Star         string // black, red, or "" without ratings
	RatingsError bool
}

func (v *view) takeDetails(r result) {
	v.DetailsCall = r
	var d bookDetails
	if v.DetailsError = decode(r, &d); v.DetailsError == "" {
		v.Details = &d
	}
}

func (v *view) takeReviews(r result) {
	v.ReviewsCall = r
	var b bookReviews
	if v.ReviewsError = decode(r, &b); v.ReviewsError != "" {
		return
	}
	v.Reviews = &b
	for _, one := range b.Reviews {
		switch {
		case one.Rating == nil:
		case one.Rating.Error != "":
			v.RatingsError = true
		default:
			// It becomes part of a class name.
			v.Star = "black"
			if one.Rating.Color != "black" {
				v.Star = "red"
			}
		}
	}
}

// decode returns the apology of a service that had nothing to tell.
func decode(r result, into any) string {
	if r.Status == http.StatusOK && json.Unmarshal(r.Body, into) == nil {
		return ""
	}
	var f failure
	if json.Unmarshal(r.Body, &f) != nil || f.Error == "" {
		return "The answer makes no sense."
	}
	return f.Error
}
