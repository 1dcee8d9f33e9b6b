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
// without regard to case. Every field of the schema needs one in the struct, and the other
// way round. A union of null and one type is a pointer; an enum is a string; a fixed is a
// []byte; int, long, float and double are Go numbers that hold them. With T = any or
// map[string]any values are goavro's own.
//
// How types and schema fit is worked out once, when the codec is made. Each value still
// passes through goavro's maps: count on some allocations per field.
package avro
