package codec

// Schemer is a codec with a schema: the text that a reader needs besides the codec's name, in whatever
// language that name means. Plans and savepoints carry it, so that values can be read without the program.
type Schemer interface{ Schema() string }

// Schema is what a Schemer says, "" for any other codec.
func Schema[T any](c Codec[T]) string {
	if s, ok := c.(Schemer); ok {
		return s.Schema()
	}
	return ""
}
