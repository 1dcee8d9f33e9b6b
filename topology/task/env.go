package task

// Header is a header of a record.
type Header struct {
	Key   string
	Value []byte
}

// Raw is a record as Kafka holds it. A nil key or value is Kafka's null. The bytes are
// read-only and stay valid during Process only.
type Raw struct {
	Key, Value []byte
	Time       int64 // ms
	Topic      string
	Partition  int32
	Offset     int64
}

// Store is the byte store of one task.
type Store interface {
	// Get returns the value of key; it is valid until the next call on the store.
	Get(key []byte) (value []byte, ok bool, err error)
	// Put copies both.
	Put(key, value []byte) error
	Delete(key []byte) error
	// Range walks lo <= key < hi in key order, including what the open epoch wrote. A
	// nil hi means to the end. f must not call the store; false ends the walk.
	Range(lo, hi []byte, f func(key, value []byte) bool) error
}

// Out is a record on its way out. Its bytes are valid during Emit only.
type Out struct {
	Key, Value   []byte // nil is Kafka's null
	PartitionKey []byte // what places the record; nil means Key
	Time         int64  // ms
	Headers      []Header
}

// Env is what a task needs from outside. Its methods are called by the goroutine that
// called the task, and only during that call.
type Env interface {
	// Store is called at start, with an index of Sub.Stores.
	Store(i int) Store
	// Emit takes a record for Sub.Outputs[output].
	Emit(output int, o *Out) error
	// Headers are those of the record in work, without the engine's own. It is called
	// only when they are asked for.
	Headers() []Header
}
