package avro

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"
)

// plan says how values of one Go type become goavro's and back.
type plan struct {
	encode func(v reflect.Value, depth int) (any, error)
	decode func(native any, dst reflect.Value) error
}

// planner walks a schema beside a Go type. It keeps the plans of records, which may
// contain themselves.
type planner map[pair]*plan

type pair struct {
	node *node
	t    reflect.Type
}

var (
	timeType = reflect.TypeFor[time.Time]()
	mapType  = reflect.TypeFor[map[string]any]()
)

func (b planner) plan(n *node, t reflect.Type) (*plan, error) {
	if t.Kind() == reflect.Interface && t.NumMethod() == 0 || n.kind == "record" && t == mapType {
		return native, nil
	}
	if n.logical != "" {
		return moment(n, t)
	}
	switch n.kind {
	case "union":
		return b.union(n, t)
	case "record":
		return b.record(n, t)
	case "array":
		return b.array(n, t)
	case "map":
		return b.table(n, t)
	}
	return primitive(n, t)
}

// native hands goavro's own values through.
var native = &plan{
	encode: func(v reflect.Value, _ int) (any, error) { return v.Interface(), nil },
	decode: func(n any, dst reflect.Value) error {
		if n == nil {
			dst.SetZero()
			return nil
		}
		v := reflect.ValueOf(n)
		if !v.CanConvert(dst.Type()) {
			return misfit(n, dst)
		}
		dst.Set(v.Convert(dst.Type()))
		return nil
	},
}

func misfit(native any, dst reflect.Value) error {
	return fmt.Errorf("%T does not fit %s", native, dst.Type())
}

// primitives are goavro's types for those of Avro, and the kinds of Go that hold them.
var primitives = map[string]struct {
	native reflect.Type
	kinds  []reflect.Kind
}{
	"boolean": {reflect.TypeFor[bool](), []reflect.Kind{reflect.Bool}},
	"string":  {reflect.TypeFor[string](), []reflect.Kind{reflect.String}},
	"enum":    {reflect.TypeFor[string](), []reflect.Kind{reflect.String}},
	"int":     {reflect.TypeFor[int32](), []reflect.Kind{reflect.Int32, reflect.Int, reflect.Int64}},
	"long":    {reflect.TypeFor[int64](), []reflect.Kind{reflect.Int64, reflect.Int}},
	"float":   {reflect.TypeFor[float32](), []reflect.Kind{reflect.Float32}},
	"double":  {reflect.TypeFor[float64](), []reflect.Kind{reflect.Float64}},
	"bytes":   {reflect.TypeFor[[]byte](), []reflect.Kind{reflect.Slice}},
	"fixed":   {reflect.TypeFor[[]byte](), []reflect.Kind{reflect.Slice}},
}

func primitive(n *node, t reflect.Type) (*plan, error) {
	p, ok := primitives[n.kind]
	if !ok || !slices.Contains(p.kinds, t.Kind()) || t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8 {
		return nil, fmt.Errorf("schema type %s does not fit %s", n.kind, t)
	}
	return &plan{
		encode: func(v reflect.Value, _ int) (any, error) {
			if n.kind == "int" && (v.Int() < math.MinInt32 || v.Int() > math.MaxInt32) {
				return nil, fmt.Errorf("%d is too large for an Avro int", v.Int())
			}
			if n.kind == "enum" && !slices.Contains(n.symbols, v.String()) {
				return nil, fmt.Errorf("%q is none of %s", v.String(), strings.Join(n.symbols, ", "))
			}
			return v.Convert(p.native).Interface(), nil
		},
		decode: func(native any, dst reflect.Value) error {
			v := reflect.ValueOf(native)
			if !v.IsValid() || v.Type() != p.native {
				return misfit(native, dst)
			}
			if dst.CanInt() && dst.OverflowInt(v.Int()) {
				return fmt.Errorf("%d does not fit %s", v.Int(), dst.Type())
			}
			dst.Set(v.Convert(dst.Type()))
			return nil
		},
	}, nil
}

// moment plans the logical types that are a time.Time. Goavro reads them so; it writes
// them from numbers too, which keeps rounding here: down, also before 1970.
func moment(n *node, t reflect.Type) (*plan, error) {
	var number func(time.Time) any
	switch n.logical {
	case "timestamp-millis":
		number = func(at time.Time) any { return at.UnixMilli() }
	case "timestamp-micros":
		number = func(at time.Time) any { return at.UnixMicro() }
	default:
		return nil, fmt.Errorf("schema type %s needs a field of type any, which gets goavro's value; it is %s", n.logical, t)
	}
	if t != timeType {
		return nil, fmt.Errorf("schema type %s needs time.Time; it is %s", n.logical, t)
	}
	return &plan{
		encode: func(v reflect.Value, _ int) (any, error) { return number(v.Interface().(time.Time)), nil },
		decode: func(native any, dst reflect.Value) error {
			at, ok := native.(time.Time)
			if !ok {
				return misfit(native, dst)
			}
			dst.Set(reflect.ValueOf(at.UTC()))
			return nil
		},
	}, nil
}

// union is null and one type: a pointer.
func (b planner) union(n *node, t reflect.Type) (*plan, error) {
	var some *node
	for _, branch := range n.branches {
		if branch.kind != "null" {
			some = branch
		}
	}
	if len(n.branches) != 2 || some == nil || t.Kind() != reflect.Pointer {
		return nil, fmt.Errorf("a union must be of null and one type, and the Go type a pointer (or any); it is %s", t)
	}
	inner, err := b.plan(some, t.Elem())
	if err != nil {
		return nil, err
	}
	return &plan{
		encode: func(v reflect.Value, depth int) (any, error) {
			if v.IsNil() {
				return nil, nil
			}
			native, err := inner.encode(v.Elem(), depth)
			return map[string]any{some.name: native}, err
		},
		decode: func(native any, dst reflect.Value) error {
			if native == nil {
				dst.SetZero()
				return nil
			}
			m, ok := native.(map[string]any)
			value, there := m[some.name]
			if !ok || !there {
				return misfit(native, dst)
			}
			dst.Set(reflect.New(t.Elem()))
			return inner.decode(value, dst.Elem())
		},
	}, nil
}

func (b planner) array(n *node, t reflect.Type) (*plan, error) {
	if t.Kind() != reflect.Slice {
		return nil, fmt.Errorf("schema type array does not fit %s", t)
	}
	inner, err := b.plan(n.items, t.Elem())
	if err != nil {
		return nil, under("[]", err)
	}
	return &plan{
		encode: func(v reflect.Value, depth int) (any, error) {
			out := make([]any, v.Len())
			for i := range out {
				var err error
				if out[i], err = inner.encode(v.Index(i), depth+1); err != nil {
					return nil, under(fmt.Sprintf("[%d]", i), err)
				}
			}
			return out, nil
		},
		decode: func(native any, dst reflect.Value) error {
			in, ok := native.([]any)
			if !ok {
				return misfit(native, dst)
			}
			dst.Set(reflect.MakeSlice(t, len(in), len(in)))
			for i, v := range in {
				if err := inner.decode(v, dst.Index(i)); err != nil {
					return under(fmt.Sprintf("[%d]", i), err)
				}
			}
			return nil
		},
	}, nil
}

func (b planner) table(n *node, t reflect.Type) (*plan, error) {
	if t.Kind() != reflect.Map || t.Key().Kind() != reflect.String {
		return nil, fmt.Errorf("schema type map does not fit %s", t)
	}
	inner, err := b.plan(n.items, t.Elem())
	if err != nil {
		return nil, under("[]", err)
	}
	return &plan{
		encode: func(v reflect.Value, depth int) (any, error) {
			out := make(map[string]any, v.Len())
			for it := v.MapRange(); it.Next(); {
				value, err := inner.encode(it.Value(), depth+1)
				if err != nil {
					return nil, under(fmt.Sprintf("[%q]", it.Key().String()), err)
				}
				out[it.Key().String()] = value
			}
			return out, nil
		},
		decode: func(native any, dst reflect.Value) error {
			in, ok := native.(map[string]any)
			if !ok {
				return misfit(native, dst)
			}
			dst.Set(reflect.MakeMapWithSize(t, len(in)))
			for _, k := range slices.Sorted(maps.Keys(in)) {
				one := reflect.New(t.Elem()).Elem()
				if err := inner.decode(in[k], one); err != nil {
					return under(fmt.Sprintf("[%q]", k), err)
				}
				dst.SetMapIndex(reflect.ValueOf(k).Convert(t.Key()), one)
			}
			return nil
		},
	}, nil
}

func (b planner) record(n *node, t reflect.Type) (*plan, error) {
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("schema type record %s does not fit %s", n.name, t)
	}
	if p, ok := b[pair{n, t}]; ok {
		return p, nil
	}
	p := new(plan)
	b[pair{n, t}] = p // before its fields: it may contain itself
	type member struct {
		name  string
		index int
		plan  *plan
	}
	var members []member
	used := map[int]string{}
	for _, f := range n.fields {
		i := fieldOf(t, f.name)
		if i < 0 {
			return nil, fmt.Errorf("%s has no field for %q", t, f.name)
		}
		if other, ok := used[i]; ok {
			return nil, fmt.Errorf("%s.%s would be for both %q and %q: tag the fields", t, t.Field(i).Name, other, f.name)
		}
		inner, err := b.plan(f.node, t.Field(i).Type)
		if err != nil {
			return nil, under("."+f.name, err)
		}
		used[i] = f.name
		members = append(members, member{f.name, i, inner})
	}
	for i := range t.NumField() {
		if f := t.Field(i); f.IsExported() && used[i] == "" && f.Tag.Get("avro") != "-" {
			return nil, fmt.Errorf("the schema has no field for %s.%s (tag it `avro:\"-\"` to leave it out)", t, f.Name)
		}
	}
	p.encode = func(v reflect.Value, depth int) (any, error) {
		if depth > maxDepth { // a value that points to itself has no end
			return nil, errDeep
		}
		out := make(map[string]any, len(members))
		for _, m := range members {
			native, err := m.plan.encode(v.Field(m.index), depth+1)
			if err != nil {
				return nil, under("."+m.name, err)
			}
			out[m.name] = native
		}
		return out, nil
	}
	p.decode = func(native any, dst reflect.Value) error {
		in, ok := native.(map[string]any)
		if !ok {
			return misfit(native, dst)
		}
		for _, m := range members {
			if err := m.plan.decode(in[m.name], dst.Field(m.index)); err != nil {
				return under("."+m.name, err)
			}
		}
		return nil
	}
	return p, nil
}

// fieldOf finds the struct field of a schema field: by tag, else by name.
func fieldOf(t reflect.Type, name string) int {
	for i := range t.NumField() {
		if f := t.Field(i); f.IsExported() && f.Tag.Get("avro") == name {
			return i
		}
	}
	for i := range t.NumField() {
		f := t.Field(i)
		if f.IsExported() && f.Tag.Get("avro") == "" && (strings.EqualFold(f.Name, name) || strings.EqualFold(f.Name, strings.ReplaceAll(name, "_", ""))) {
			return i
		}
	}
	return -1
}
