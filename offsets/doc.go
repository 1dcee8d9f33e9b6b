// Package offsets holds the small values that every other package of weir speaks of: which
// task, which epoch, which position, and how they are written beside Kafka's offsets and in
// record headers. It imports nothing of weir.
//
// The words:
//
//   - task: one sub-topology of a plan at one partition number, written "3-7";
//   - position: the offset of the next record to process;
//   - epoch: what a lane does in one Kafka transaction; its id says who committed it;
//   - timeline: one life of an application's internal topics;
//   - stamp: the header of each record in a repartition topic;
//   - cut: the number of a checkpoint that a task has taken part in.
//
// Every layout here is documented byte by byte, with an example, in FORMAT.md. All of them
// are canonical: a value has exactly one encoding, and whatever decodes without an error
// encodes to the same bytes again.
package offsets
