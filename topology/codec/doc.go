// Package codec turns Go values into the bytes of Kafka records and stores, and back.
//
// A null of Kafka, for a key or a value, is a nil slice here. Only a NullCodec has a value
// for it (None, Nullable); for every other codec it is a decode error on a stream.
package codec
