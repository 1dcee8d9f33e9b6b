// Package avro holds codecs for Avro by goavro: plain binary Avro with a fixed schema,
// without a prefix. The wire format of a schema registry is not here yet.
//
//	var Orders = topology.NewTopic("orders", codec.String, avro.Of[Order](`{
//		"type": "record", "name": "Order", "fields": [
//			{"name": "customer", "type": "string"},
//			{"name": "cents", "type": "long"},
//			{"name": "note", "type": ["null", "string"]},
//			{"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}]}`))
//
//	type Order struct {
//		Customer string
//		Cents    int64
//		Note     *string
//		At       time.Time
//	}
//
// A record becomes a struct, field by field: by the tag `avro:"name"`, else by the name
// without regard to case and underscores. Every field of the schema needs one in the
// struct, and the other way round. A union of null and one type is a pointer; an enum is a
// string, and checked; a fixed is a []byte; timestamp-millis and timestamp-micros are
// time.Time, rounded down; int, long, float and double are the Go numbers that hold them.
// Other logical types and unions need the type any. With any, or map[string]any for a
// record, values are goavro's own.
//
// A wrong schema, or one that does not fit, is an error of Parse and ParseFile. The codecs
// of Of and File can stand beside a topic: Build reports it, and so does each use.
//
// Maps are written in no order, so that equal values may have different bytes: a schema
// with a map in it does not do for keys.
//
// How types and schema fit is worked out once, when the codec is made. Each value is
// checked against the schema before it is decoded, so that one that lies about its size or
// has no end is an error and nothing worse. Then it passes through goavro's maps: count on
// some allocations per field.
package avro
