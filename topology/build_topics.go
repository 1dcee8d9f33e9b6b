package topology

import (
	"fmt"
	"strings"
)

// needTopic checks what a source or sink says of its topic.
func (v *vertex) needTopic(name string, noKey, noValue bool) {
	if err := checkTopic(name); err != nil {
		v.b.reject(v, "topic name %q: %v", name, err).fix("use a-z, A-Z, 0-9, '.', '_' and '-', at most 249 characters")
	}
	if internal(v.b.name, name) {
		v.b.reject(v, "topic %s has the name of an internal topic of this application", name).
			fix("use the stream itself; internal topics belong to one application and may change")
	}
	if noKey {
		v.b.reject(v, "topic %s has no codec for keys", name).fix("pass one to NewTopic; codec.Bytes takes everything")
	}
	if noValue {
		v.b.reject(v, "topic %s has no codec for values", name).fix("pass one to NewTopic; codec.Bytes takes everything")
	}
}

// checkTopic holds Kafka's rule for names of topics.
func checkTopic(name string) error {
	if name == "" || name == "." || name == ".." || len(name) > 249 {
		return fmt.Errorf("it has %d characters, or only dots", len(name))
	}
	for _, r := range name {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
		default:
			return fmt.Errorf("%q is not allowed", r)
		}
	}
	return nil
}

// internal says whether a topic's name is one that the application makes for itself:
// <application>.control or <application>.<timeline>.<...>.
func internal(application, topic string) bool {
	rest, ok := strings.CutPrefix(topic, application+".")
	if !ok || application == "" {
		return false
	}
	if rest == "control" {
		return true
	}
	timeline, _, ok := strings.Cut(rest, ".")
	return ok && timeline != "" && strings.Trim(timeline, "0123456789") == ""
}
