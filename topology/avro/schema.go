package avro

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// node is a type of a schema whose names are resolved: a type that contains itself points
// to itself.
type node struct {
	kind    string // "null", "long", "record", ...
	logical string // "timestamp-millis", ..., if goavro knows it for this kind
	name    string // what goavro calls it as a branch of a union

	size     int      // of a fixed
	symbols  []string // of an enum
	items    *node    // of an array or a map
	branches []*node  // of a union
	fields   []field  // of a record
}

type field struct {
	name string
	node *node
}

// parser reads schemas that goavro has accepted, by goavro's rules of names.
type parser struct{ named map[string]*node }

func parse(text string) (*node, error) {
	var schema any
	if err := json.Unmarshal([]byte(text), &schema); err != nil {
		schema = strings.TrimSpace(text) // a bare name: string, long ...
	}
	return (&parser{map[string]*node{}}).node(schema, "")
}

func (p *parser) node(schema any, namespace string) (*node, error) {
	switch s := schema.(type) {
	case string:
		return p.typed(s, nil, namespace)
	case []any:
		u := &node{kind: "union", name: "union"}
		for _, b := range s {
			n, err := p.node(b, namespace)
			if err != nil {
				return nil, err
			}
			u.branches = append(u.branches, n)
		}
		return u, nil
	case map[string]any:
		if kind, ok := s["type"].(string); ok {
			return p.typed(kind, s, namespace)
		}
		return p.node(s["type"], namespace)
	}
	return nil, fmt.Errorf("a schema is a name, a list or an object, not %v", schema)
}

// typed reads a type by the name that it has; s is what stands around the name, if anything.
func (p *parser) typed(kind string, s map[string]any, namespace string) (*node, error) {
	logical, _ := s["logicalType"].(string)
	switch kind {
	case "null", "boolean", "int", "long", "float", "double", "bytes", "string":
		n := &node{kind: kind, name: kind}
		switch full := kind + "." + logical; full {
		case "long.timestamp-millis", "long.timestamp-micros", "long.time-micros", "int.time-millis", "int.date", "bytes.decimal":
			n.name, n.logical = full, logical
		}
		return n, nil
	}
	for _, name := range []string{kind, namespace + "." + kind} {
		if n, ok := p.named[name]; ok {
			return n, nil
		}
	}
	n := &node{kind: kind, name: kind}
	var err error
	switch kind {
	case "array":
		n.items, err = p.node(s["items"], namespace)
		return n, err
	case "map":
		n.items, err = p.node(s["values"], namespace)
		return n, err
	}

	n.name, namespace = fullName(s, namespace)
	p.named[n.name] = n // before its fields: it may contain itself
	switch kind {
	case "fixed":
		size, _ := s["size"].(float64)
		n.size = int(size)
		if logical == "decimal" {
			n.logical = logical
		}
	case "enum":
		list, _ := s["symbols"].([]any)
		for _, symbol := range list {
			n.symbols = append(n.symbols, fmt.Sprint(symbol))
		}
	case "record":
		list, _ := s["fields"].([]any)
		for _, f := range list {
			m, _ := f.(map[string]any)
			name := fmt.Sprint(m["name"])
			inner, err := p.node(m, namespace) // goavro reads a logicalType at the field as well
			if err != nil {
				return nil, under("."+name, err)
			}
			n.fields = append(n.fields, field{name[strings.LastIndexByte(name, '.')+1:], inner})
		}
	default:
		return nil, fmt.Errorf("type %s is not known", kind)
	}
	return n, nil
}

// fullName gives the name of a named type, and the namespace of what it contains.
func fullName(s map[string]any, enclosing string) (name, namespace string) {
	name, _ = s["name"].(string)
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		return name, name[:i]
	}
	namespace, _ = s["namespace"].(string)
	if namespace == "" {
		namespace = enclosing
	}
	if namespace == "" {
		return name, ""
	}
	return namespace + "." + name, namespace
}

// anywhere says whether f holds for a type in the tree.
func (n *node) anywhere(f func(*node) bool) bool {
	seen := map[*node]bool{}
	var walk func(n *node) bool
	walk = func(n *node) bool {
		if n == nil || seen[n] {
			return false
		}
		seen[n] = true
		return f(n) || walk(n.items) || slices.ContainsFunc(n.branches, walk) ||
			slices.ContainsFunc(n.fields, func(f field) bool { return walk(f.node) })
	}
	return walk(n)
}

// fieldError says where in a value the mistake is: "parent.tags[3]".
type fieldError struct {
	path string
	err  error
}

func (e *fieldError) Error() string {
	return fmt.Sprintf("field %s: %v", strings.TrimPrefix(e.path, "."), e.err)
}

func (e *fieldError) Unwrap() error { return e.err }

// maxPath bounds the path that is shown: values may be deep.
const maxPath = 200

// under puts a step before the path of an error.
func under(step string, err error) error {
	var inner *fieldError
	if !errors.As(err, &inner) {
		return &fieldError{step, err}
	}
	path := step + inner.path
	if len(path) > maxPath {
		path = path[:maxPath] + "..."
	}
	return &fieldError{path, inner.err}
}

// compact leaves white space out. A bare name is none of JSON's values, and stays.
func compact(schema string) string {
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(schema)); err != nil {
		return strings.TrimSpace(schema)
	}
	return b.String()
}
