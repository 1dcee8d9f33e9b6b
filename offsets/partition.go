package offsets

// Partition places a key as the Java client's default partitioner does, so that records
// written by a Java producer and by weir meet in the same partition. A nil key counts as an
// empty one: the Java client spreads those at random, which a replay may not.
func Partition(key []byte, n int32) int32 {
	if n <= 0 {
		panic("offsets: partition count is not positive")
	}
	return int32(murmur2(key)&0x7fffffff) % n
}

// murmur2 is the 32-bit variant of org.apache.kafka.common.utils.Utils, seed included.
func murmur2(b []byte) uint32 {
	const (
		seed = 0x9747b28c
		m    = 0x5bd1e995
		r    = 24
	)
	h := uint32(seed) ^ uint32(len(b))
	for len(b) >= 4 {
		k := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
		k *= m
		k ^= k >> r
		k *= m
		h *= m
		h ^= k
		b = b[4:]
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(b[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	h ^= h >> 15
	return h
}
