package scale

import (
	"bytes"
	"fmt"
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/weir-stream/weir/integration/bench/report"
)

// A line of a panel.
type line struct {
	name  string // in the legend; empty: none
	runs  func(Point) []Run
	value func(Run) float64
}

// rows of the drawing: a measure each, a panel per curve.
var rows = []struct {
	title string
	lines func(Cause) []line
}{
	{"K records per CPU-second", func(Cause) []line { return []line{{"", fresh, perCPUSecond}} }},
	{"K records/s", func(Cause) []line { return []line{{"", fresh, perSecond}} }},
	{"broker CPU µs per record", func(Cause) []line { return []line{{"", fresh, brokerCPU}} }},
	{"peak MiB", func(Cause) []line { return []line{{"RSS", fresh, rss}, {"anonymous", fresh, anon}} }},
	{"s to first commit", func(c Cause) []line {
		if c != State {
			return []line{{"", fresh, firstCommit}}
		}
		return []line{{"new", fresh, firstCommit}, {"with directory", kept, firstCommit}, {"without", rebuilt, firstCommit}}
	}},
}

// Colours that are told apart by everybody (Okabe and Ito), on a white page.
var colours = []color.Color{color.RGBA{0, 114, 178, 255}, color.RGBA{213, 94, 0, 255}, color.RGBA{0, 158, 115, 255}}

const (
	panelWidth  = 7 * vg.Centimeter
	panelHeight = 5 * vg.Centimeter
	small       = 8 // points of text
)

// SVG draws all curves on one page: a column per curve, a row per measure.
func (s Scale) SVG() ([]byte, error) {
	cols := len(s.Curves)
	if cols == 0 {
		return nil, fmt.Errorf("there are no curves to draw")
	}
	page := vgsvg.New(panelWidth*vg.Length(cols), panelHeight*vg.Length(len(rows)))
	dc := draw.New(page)
	dc.SetColor(color.White)
	dc.Fill(dc.Rectangle.Path())
	plots := make([][]*plot.Plot, len(rows))
	for i, row := range rows {
		for j, c := range s.Curves {
			p, err := c.panel(row.title, row.lines(c.Cause))
			if err != nil {
				return nil, err
			}
			if i == 0 {
				p.Title.Text = c.title()
			}
			if i == len(rows)-1 {
				p.X.Label.Text = string(c.Cause)
			}
			if j > 0 {
				p.Y.Label.Text = ""
			}
			plots[i] = append(plots[i], p)
		}
	}
	gap := vg.Points(6)
	tiles := draw.Tiles{Rows: len(rows), Cols: cols, PadX: gap, PadY: gap, PadTop: gap, PadBottom: gap, PadLeft: gap, PadRight: gap}
	for i, row := range plot.Align(plots, tiles, dc) {
		for j, canvas := range row {
			plots[i][j].Draw(canvas)
		}
	}
	var b bytes.Buffer
	_, err := page.WriteTo(&b)
	return b.Bytes(), err
}

// panel draws one measure of a curve: medians as a line, smallest and largest of the rounds as bars.
func (c Curve) panel(title string, lines []line) (*plot.Plot, error) {
	p := plot.New()
	p.Y.Label.Text = title
	for _, text := range []*vg.Length{&p.Title.TextStyle.Font.Size, &p.X.Label.TextStyle.Font.Size, &p.Y.Label.TextStyle.Font.Size,
		&p.X.Tick.Label.Font.Size, &p.Y.Tick.Label.Font.Size, &p.Legend.TextStyle.Font.Size} {
		*text = vg.Points(small)
	}
	p.Title.TextStyle.Font.Size = vg.Points(small + 1)
	p.Title.Padding, p.Legend.YOffs = vg.Points(4), vg.Points(3)
	grid := plotter.NewGrid()
	grid.Vertical.Width = 0
	grid.Horizontal.Color = color.Gray{220}
	p.Add(grid)
	x := func(i int) float64 { return c.Points[i].X }
	if c.Cause == Skew { // has a zero and no decades, and crowds at its end: as far apart as can be
		p.X.Scale = plot.LinearScale{}
		x = func(i int) float64 { return float64(i) }
	} else {
		p.X.Scale = plot.LogScale{}
	}
	var ticks []plot.Tick
	for i, at := range c.Points {
		ticks = append(ticks, plot.Tick{Value: x(i), Label: c.Cause.size(at.X)})
	}
	p.X.Tick.Marker = plot.ConstantTicks(ticks)
	p.Y.Min = 0
	highest := 0.0
	for n, l := range lines {
		var pts plotter.XYs
		var bars errorBars
		for i, at := range c.Points {
			runs := l.runs(at)
			if len(runs) == 0 {
				continue
			}
			f := report.FigureOf(runs, l.value)
			pts = append(pts, plotter.XY{X: x(i), Y: f.Median})
			bars.XYs = append(bars.XYs, plotter.XY{X: x(i), Y: f.Median})
			bars.YErrors = append(bars.YErrors, struct{ Low, High float64 }{f.Median - f.Min, f.Max - f.Median})
			highest = math.Max(highest, f.Max)
		}
		if len(pts) == 0 {
			continue
		}
		curve, dots, err := plotter.NewLinePoints(pts)
		if err != nil {
			return nil, fmt.Errorf("%s, %s: %w", c.title(), title, err)
		}
		spread, err := plotter.NewYErrorBars(bars)
		if err != nil {
			return nil, fmt.Errorf("%s, %s: %w", c.title(), title, err)
		}
		curve.Color, dots.Color, spread.Color = colours[n], colours[n], colours[n]
		curve.Width, dots.Shape, dots.Radius = vg.Points(1.2), draw.CircleGlyph{}, vg.Points(2)
		p.Add(curve, dots, spread)
		if l.name != "" {
			p.Legend.Add(l.name, curve)
		}
	}
	p.Y.Max = 1.15 * math.Max(highest, 1e-9)
	return p, nil
}

type errorBars struct {
	plotter.XYs
	plotter.YErrors
}
