package offsets

import (
	"fmt"
	"strconv"
	"strings"
)

// MaxName is the longest application, instance or operator name: with it every topic name
// that is made of names stays below Kafka's 249 characters.
const MaxName = 100

// CheckName refuses a name that could not be told apart inside a topic, group or
// transactional id: those join names with a dot.
func CheckName(s string) error {
	if len(s) == 0 || len(s) > MaxName {
		return fmt.Errorf("name %.120q has %d characters: use 1 to %d", s, len(s), MaxName)
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("name %q: %q at %d is not allowed: use a-z, 0-9 and -", s, c, i)
		}
	}
	return nil
}

// Names makes the names of everything an application owns in Kafka. Its parts have passed
// CheckName.
type Names struct {
	Application string
	Timeline    uint32
}

func (n Names) timeline() string {
	return n.Application + "." + strconv.FormatUint(uint64(n.Timeline), 10)
}

// Changelog is the compacted topic of a store.
func (n Names) Changelog(uid string) string { return n.timeline() + "." + uid + ".changelog" }

// Repartition is the topic that carries records between two sub-topologies.
func (n Names) Repartition(uid string) string { return n.timeline() + "." + uid + ".repartition" }

// Acks is the topic of cut acknowledgements.
func (n Names) Acks() string { return n.timeline() + ".acks" }

// Epochs is the topic of witness records: what an epoch writes that has nothing else to write.
func (n Names) Epochs() string { return n.timeline() + ".epochs" }

// Control is the topic of births, intents and checkpoints. It outlives timelines.
func (n Names) Control() string { return n.Application + ".control" }

// Group is the consumer group.
func (n Names) Group() string { return n.timeline() }

// GroupInstance is the static member id (group.instance.id) of a lane.
func (n Names) GroupInstance(instance string, lane int) string {
	return instance + "." + strconv.Itoa(lane)
}

// ParseGroupInstance reads what GroupInstance gives.
func ParseGroupInstance(s string) (instance string, lane int, ok bool) {
	instance, number, found := strings.Cut(s, ".")
	n, err := parseIndex(number)
	if !found || err != nil || CheckName(instance) != nil {
		return "", 0, false
	}
	return instance, int(n), true
}

// TransactionalID is that of one lane slot: who starts there again fences its own past.
func (n Names) TransactionalID(instance string, lane int) string {
	return n.TxnPrefix() + instance + "." + strconv.Itoa(lane)
}

// TxnPrefix begins the transactional ids of all lanes of the timeline.
func (n Names) TxnPrefix() string { return n.timeline() + "." }

// BirthTransactionalID lets only one worker give birth to a timeline. It holds no timeline:
// whoever comes second waits or fences, whatever number it had in mind.
func (n Names) BirthTransactionalID() string { return n.Application + ".birth" }

// ParseTransactionalID says whether the id is that of a lane of the application, of any
// timeline, and of which.
func (n Names) ParseTransactionalID(id string) (timeline uint32, instance string, lane int, ok bool) {
	rest, found := strings.CutPrefix(id, n.Application+".")
	number, slot, dotted := strings.Cut(rest, ".")
	t, err := strconv.ParseUint(number, 10, 32)
	if !found || !dotted || err != nil || strconv.FormatUint(t, 10) != number {
		return 0, "", 0, false
	}
	instance, lane, ok = ParseGroupInstance(slot)
	if !ok {
		return 0, "", 0, false
	}
	return uint32(t), instance, lane, true
}
