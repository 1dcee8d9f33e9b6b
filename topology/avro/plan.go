package avro

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"
)

// plan says how values of one Go type become goavro's and back.
type plan struct {
	encode func(v reflect.Value) (any, error)
	decode func(native any, dst reflect.Value) error
}

// planner walks a schema beside a Go type. Named types may be used again, also by
// themselves.
type planner struct {
	named   map[string]*plan // by schema name and Go type
	schemas map[string]any
}

var timeType = reflect.TypeFor[time.Time]()

func (b *planner) plan(schema any, t reflect.Type, path string) (*plan, error) {
	if t.Kind() == reflect.Interface && t.NumMethod() == 0 {
		return &plan{
			encode: func(v reflect.Value) (any, error) { return v.Interface(), nil },
			decode: func(n any, dst reflect.Value) error {
				if n != nil {
					dst.Set(reflect.ValueOf(n))
				}
				return nil
			},
		}, nil
	}
	switch s := schema.(type) {
	case string:
		if p, ok := b.named[s+" "+t.String()]; ok {
			return p, nil
		}
		if known, ok := b.schemas[s]; ok {
			return b.plan(known, t, path)
		}
		return primitive(s, t, path)
	case []any:
		return b.union(s, t, path)
	case map[string]any:
		kind, _ := s["type"].(string)
		switch kind {
		case "record":
			return b.record(s, t, path)
		case "array":
			return b.array(s["items"], t, path)
		case "map":
			return b.table(s["values"], t, path)
		case "enum":
			b.schemas[fmt.Sprint(s["name"])] = s
			return primitive("string", t, path)
		case "fixed":
			b.schemas[fmt.Sprint(s["name"])] = s
			return primitive("bytes", t, path)
		}
		if s["logicalType"] == "timestamp-millis" && t == timeType {
			return &plan{
				encode: func(v reflect.Value) (any, error) { return v.Interface().(time.Time), nil },
				decode: func(n any, dst reflect.Value) error {
					at, ok := n.(time.Time)
					if !ok {
						return misfit(path, n, dst)
					}
					dst.Set(reflect.ValueOf(at.UTC()))
					return nil
				},
			}, nil
		}
		if s["type"] != nil {
			return b.plan(s["type"], t, path)
		}
	}
	return nil, fmt.Errorf("%s: schema %v is not supported", where(path), schema)
}

func where(path string) string {
	if path == "" {
		return "value"
	}
	return "field " + path
}

func misfit(path string, native any, dst reflect.Value) error {
	return fmt.Errorf("%s: %T does not fit %s", where(path), native, dst.Type())
}

// primitive plans numbers, strings, bytes and booleans.
func primitive(name string, t reflect.Type, path string) (*plan, error) {
	fits := func(kinds ...reflect.Kind) bool {
		for _, k := range kinds {
			if t.Kind() == k {
				return true
			}
		}
		return false
	}
	convert := func(as reflect.Type) *plan {
		return &plan{
			encode: func(v reflect.Value) (any, error) { return v.Convert(as).Interface(), nil },
			decode: func(n any, dst reflect.Value) error {
				v := reflect.ValueOf(n)
				if !v.IsValid() || v.Type() != as {
					return misfit(path, n, dst)
				}
				if dst.CanInt() && dst.OverflowInt(v.Int()) {
					return fmt.Errorf("%s: %d does not fit %s", where(path), v.Int(), dst.Type())
				}
				dst.Set(v.Convert(dst.Type()))
				return nil
			},
		}
	}
	switch {
	case name == "string" && fits(reflect.String):
		return convert(reflect.TypeFor[string]()), nil
	case name == "boolean" && fits(reflect.Bool):
		return convert(reflect.TypeFor[bool]()), nil
	case name == "int" && fits(reflect.Int32, reflect.Int, reflect.Int16, reflect.Int8, reflect.Int64):
		p := convert(reflect.TypeFor[int32]())
		encode := p.encode
		p.encode = func(v reflect.Value) (any, error) {
			if n := v.Int(); n < math.MinInt32 || n > math.MaxInt32 {
				return nil, fmt.Errorf("%s: %d is too large for an Avro int", where(path), n)
			}
			return encode(v)
		}
		return p, nil
	case name == "long" && fits(reflect.Int64, reflect.Int):
		return convert(reflect.TypeFor[int64]()), nil
	case name == "float" && fits(reflect.Float32, reflect.Float64):
		return convert(reflect.TypeFor[float32]()), nil
	case name == "double" && fits(reflect.Float64):
		return convert(reflect.TypeFor[float64]()), nil
	case name == "bytes" && t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		return convert(reflect.TypeFor[[]byte]()), nil
	}
	return nil, fmt.Errorf("%s: Avro %s does not fit %s", where(path), name, t)
}

// union is null and one type: a pointer.
func (b *planner) union(branches []any, t reflect.Type, path string) (*plan, error) {
	if len(branches) != 2 || t.Kind() != reflect.Pointer || branches[0] != "null" && branches[1] != "null" {
		return nil, fmt.Errorf("%s: a union must be of null and one type, and the Go type a pointer (or any); it is %s", where(path), t)
	}
	some := branches[0]
	if some == "null" {
		some = branches[1]
	}
	inner, err := b.plan(some, t.Elem(), path)
	if err != nil {
		return nil, err
	}
	name := branchName(some)
	return &plan{
		encode: func(v reflect.Value) (any, error) {
			if v.IsNil() {
				return nil, nil
			}
			n, err := inner.encode(v.Elem())
			return map[string]any{name: n}, err
		},
		decode: func(n any, dst reflect.Value) error {
			if n == nil {
				dst.SetZero()
				return nil
			}
			m, ok := n.(map[string]any)
			if !ok || len(m) != 1 {
				return misfit(path, n, dst)
			}
			dst.Set(reflect.New(t.Elem()))
			for _, v := range m {
				return inner.decode(v, dst.Elem())
			}
			return nil
		},
	}, nil
}

// branchName is how goavro calls a branch of a union.
func branchName(schema any) string {
	s, ok := schema.(map[string]any)
	if !ok {
		return fmt.Sprint(schema)
	}
	if name, ok := s["name"].(string); ok {
		if ns, ok := s["namespace"].(string); ok && !strings.Contains(name, ".") {
			return ns + "." + name
		}
		return name
	}
	if logical, ok := s["logicalType"].(string); ok {
		return fmt.Sprintf("%v.%s", s["type"], logical)
	}
	return fmt.Sprint(s["type"])
}

func (b *planner) array(items any, t reflect.Type, path string) (*plan, error) {
	if t.Kind() != reflect.Slice {
		return nil, fmt.Errorf("%s: an Avro array does not fit %s", where(path), t)
	}
	inner, err := b.plan(items, t.Elem(), path+"[]")
	if err != nil {
		return nil, err
	}
	return &plan{
		encode: func(v reflect.Value) (any, error) {
			out := make([]any, v.Len())
			for i := range out {
				var err error
				if out[i], err = inner.encode(v.Index(i)); err != nil {
					return nil, err
				}
			}
			return out, nil
		},
		decode: func(n any, dst reflect.Value) error {
			in, ok := n.([]any)
			if !ok {
				return misfit(path, n, dst)
			}
			dst.Set(reflect.MakeSlice(t, len(in), len(in)))
			for i, v := range in {
				if err := inner.decode(v, dst.Index(i)); err != nil {
					return err
				}
			}
			return nil
		},
	}, nil
}

func (b *planner) table(values any, t reflect.Type, path string) (*plan, error) {
	if t.Kind() != reflect.Map || t.Key().Kind() != reflect.String {
		return nil, fmt.Errorf("%s: an Avro map does not fit %s", where(path), t)
	}
	inner, err := b.plan(values, t.Elem(), path+"{}")
	if err != nil {
		return nil, err
	}
	return &plan{
		encode: func(v reflect.Value) (any, error) {
			out := make(map[string]any, v.Len())
			for it := v.MapRange(); it.Next(); {
				n, err := inner.encode(it.Value())
				if err != nil {
					return nil, err
				}
				out[it.Key().String()] = n
			}
			return out, nil
		},
		decode: func(n any, dst reflect.Value) error {
			in, ok := n.(map[string]any)
			if !ok {
				return misfit(path, n, dst)
			}
			dst.Set(reflect.MakeMapWithSize(t, len(in)))
			for k, v := range in {
				one := reflect.New(t.Elem()).Elem()
				if err := inner.decode(v, one); err != nil {
					return err
				}
				dst.SetMapIndex(reflect.ValueOf(k).Convert(t.Key()), one)
			}
			return nil
		},
	}, nil
}

// record plans a struct, or goavro's own map.
func (b *planner) record(s map[string]any, t reflect.Type, path string) (*plan, error) {
	name := branchName(s)
	b.schemas[name], b.schemas[fmt.Sprint(s["name"])] = s, s
	if t == reflect.TypeFor[map[string]any]() {
		return b.plan(s, reflect.TypeFor[any](), path)
	}
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("%s: an Avro record does not fit %s", where(path), t)
	}
	p := new(plan)
	b.named[name+" "+t.String()] = p // before its fields: it may contain itself
	b.named[fmt.Sprint(s["name"])+" "+t.String()] = p
	type field struct {
		name  string
		index int
		plan  *plan
	}
	var fields []field
	used := map[int]bool{}
	list, _ := s["fields"].([]any)
	for _, f := range list {
		f, _ := f.(map[string]any)
		fname := fmt.Sprint(f["name"])
		i := fieldOf(t, fname)
		if i < 0 {
			return nil, fmt.Errorf("%s: %s has no field for %q", where(path), t, fname)
		}
		at := strings.TrimPrefix(path+"."+fname, ".")
		inner, err := b.plan(f["type"], t.Field(i).Type, at)
		if err != nil {
			return nil, err
		}
		used[i] = true
		fields = append(fields, field{fname, i, inner})
	}
	for i := range t.NumField() {
		if f := t.Field(i); f.IsExported() && !used[i] && f.Tag.Get("avro") != "-" {
			return nil, fmt.Errorf("%s: the schema has no field for %s.%s (tag it `avro:\"-\"` to leave it out)", where(path), t, f.Name)
		}
	}
	p.encode = func(v reflect.Value) (any, error) {
		out := make(map[string]any, len(fields))
		for _, f := range fields {
			n, err := f.plan.encode(v.Field(f.index))
			if err != nil {
				return nil, err
			}
			out[f.name] = n
		}
		return out, nil
	}
	p.decode = func(n any, dst reflect.Value) error {
		in, ok := n.(map[string]any)
		if !ok {
			return misfit(path, n, dst)
		}
		for _, f := range fields {
			if err := f.plan.decode(in[f.name], dst.Field(f.index)); err != nil {
				return err
			}
		}
		return nil
	}
	return p, nil
}

// fieldOf finds the struct field of a schema field: by tag, else by name.
func fieldOf(t reflect.Type, name string) int {
	for i := range t.NumField() {
		if t.Field(i).Tag.Get("avro") == name {
			return i
		}
	}
	for i := range t.NumField() {
		f := t.Field(i)
		if f.IsExported() && f.Tag.Get("avro") == "" && strings.EqualFold(f.Name, strings.ReplaceAll(name, "_", "")) {
			return i
		}
	}
	return -1
}
