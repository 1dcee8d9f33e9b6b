package processor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/changelog"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/topology"
)

// Error is something that a person must do about: what is wrong, where, and what to do.
type Error struct {
	What  string
	Where string
	Fix   string
	Err   error // cause or class, may be nil
}

func (e *Error) Error() string {
	s := e.What
	if e.Where != "" {
		s = e.Where + ": " + s
	}
	if e.Fix != "" {
		s += "; " + e.Fix
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Classes of errors, for errors.Is.
var (
	// ErrUnreachable: no broker answered.
	ErrUnreachable = errors.New("brokers unreachable")
	// ErrBroker: the brokers are too old or set up in a way that does not work.
	ErrBroker = errors.New("brokers unsuitable")
	// ErrTopic: a topic is missing or is not as it must be.
	ErrTopic = errors.New("topic unsuitable")
	// ErrSink: the brokers do not take a record that a task sends, however often it is sent.
	// The task is closed without the epoch that has the record, and tried again as the restart
	// strategy says.
	ErrSink = errors.New("record refused by the brokers")
	// ErrPlan: the plan does not fit what the application was born with.
	ErrPlan = errors.New("incompatible plan")
	// ErrCodec: a codec cannot be used with its topic; the error wraps a *task.CodecError.
	ErrCodec = errors.New("codec unusable")
	// ErrPosition: a committed position is missing or outside the log.
	ErrPosition = errors.New("no usable position")
	// ErrInstanceTaken: another process runs under the same instance id.
	ErrInstanceTaken = errors.New("instance id taken by another process")
	// ErrGaveUp: a task failed and its restart strategy does not try it again, or trying again
	// cannot help; what made it fail is in the chain, too.
	ErrGaveUp = errors.New("task given up")
	// ErrDrained: the time of the application has ended, and what it would read was late.
	ErrDrained = errors.New("the application was drained")
	// ErrCheckpointsFail is returned when more checkpoints in a row have failed than is tolerable,
	// and that is to be a failure (Checkpoints.OnTooManyFailures).
	ErrCheckpointsFail = errors.New("checkpoints fail")
	// ErrTimelineOver: the application was rewound, or is being rewound, to a new timeline.
	ErrTimelineOver = errors.New("the application has moved to a newer timeline")
)

var errReserved = errors.New("reserved client option")

// verdict is what a Kafka error means for the work at hand.
type verdict uint8

const (
	verdictOK             verdict = iota
	verdictRetry                  // try the same again
	verdictAbort                  // definitely not done: abort the transaction
	verdictUnknown                // may have been done: ask Kafka
	verdictFenced                 // the producer was fenced
	verdictFencedInstance         // the instance id was taken by another process
	verdictLost                   // the membership changed
	verdictFatal                  // a person must act: rights, settings, broken data
)

func (v verdict) String() string {
	return [...]string{"ok", "retry", "abort", "unknown", "fenced", "fenced-instance", "lost", "fatal"}[v]
}

// verdicts holds the codes whose meaning is not "retry when retriable, else abort".
var verdicts = map[*kerr.Error]verdict{
	kerr.ProducerFenced:          verdictFenced,
	kerr.TransactionalIDNotFound: verdictFenced,

	kerr.FencedInstanceID: verdictFencedInstance,

	kerr.IllegalGeneration:   verdictLost,
	kerr.UnknownMemberID:     verdictLost,
	kerr.RebalanceInProgress: verdictLost,
	kerr.StaleMemberEpoch:    verdictLost,
	kerr.FencedMemberEpoch:   verdictLost,

	// A commit that races the broker's own abort: it may say either (KAFKA-20785).
	kerr.InvalidTxnState:          verdictUnknown,
	kerr.UnknownServerError:       verdictUnknown,
	kerr.RequestTimedOut:          verdictUnknown,
	kerr.NetworkException:         verdictUnknown,
	kerr.InvalidProducerEpoch:     verdictUnknown,
	kerr.InvalidProducerIDMapping: verdictUnknown,
	kerr.UnknownProducerID:        verdictUnknown,
	kerr.OperationNotAttempted:    verdictUnknown,

	kerr.TransactionAbortable:     verdictAbort,
	kerr.OutOfOrderSequenceNumber: verdictAbort,

	kerr.UnstableOffsetCommit:      verdictRetry,
	kerr.ConcurrentTransactions:    verdictRetry,
	kerr.CoordinatorLoadInProgress: verdictRetry,
	kerr.CoordinatorNotAvailable:   verdictRetry,
	kerr.NotCoordinator:            verdictRetry,

	kerr.TopicAuthorizationFailed:           verdictFatal,
	kerr.GroupAuthorizationFailed:           verdictFatal,
	kerr.ClusterAuthorizationFailed:         verdictFatal,
	kerr.TransactionalIDAuthorizationFailed: verdictFatal,
	kerr.SaslAuthenticationFailed:           verdictFatal,
	kerr.UnsupportedSaslMechanism:           verdictFatal,
	kerr.UnsupportedVersion:                 verdictFatal,
	kerr.InvalidTransactionTimeout:          verdictFatal,
	kerr.InvalidSessionTimeout:              verdictFatal,
	kerr.InconsistentGroupProtocol:          verdictFatal,
	kerr.OffsetOutOfRange:                   verdictFatal,
	kerr.UnknownTopicID:                     verdictFatal,
	kerr.MessageTooLarge:                    verdictFatal,
	kerr.RecordListTooLarge:                 verdictFatal,
	kerr.InvalidTimestamp:                   verdictFatal,
	kerr.InvalidRecord:                      verdictFatal,
	kerr.PolicyViolation:                    verdictFatal,
	kerr.OffsetMetadataTooLarge:             verdictFatal,
}

// judge is the one place that says what a Kafka error means. Errors without an answer of a
// broker (network, deadline, closed client) leave open whether the request was carried out.
func judge(err error) verdict {
	if err == nil {
		return verdictOK
	}
	// Of several causes the gravest counts.
	worst := verdictOK
	var ke *kerr.Error
	if errors.As(err, &ke) {
		v, known := verdicts[ke]
		switch {
		case known:
			worst = v
		case ke.Retriable:
			worst = verdictRetry
		default:
			worst = verdictAbort
		}
	}
	var (
		auth    *kgo.ErrFirstReadEOF
		dataErr *kgo.ErrDataLoss
		certErr *tls.CertificateVerificationError
		unknown x509.UnknownAuthorityError
	)
	switch {
	case errors.As(err, &certErr), errors.As(err, &unknown), errors.As(err, &dataErr):
		return verdictFatal
	case worst != verdictOK:
		return worst
	case errors.As(err, &auth), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, kgo.ErrClientClosed):
		return verdictUnknown
	case errors.Is(err, kgo.ErrAborting), errors.Is(err, kgo.ErrMaxBuffered):
		return verdictAbort
	}
	var mine *Error
	if errors.As(err, &mine) {
		return verdictFatal
	}
	return verdictUnknown
}

// hopeless says whether what made a task fail would come again however often it is tried:
// the function has said so, or what the task needs to go on is gone from Kafka.
func hopeless(err error) bool {
	for _, class := range []error{topology.ErrNonRetriable, ErrPosition, changelog.ErrTruncated, changelog.ErrLost} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}

// refusesRecords says whether an error of a produced record is about the record, or its topic,
// and would come again.
func refusesRecords(err error) bool {
	return judge(err) == verdictFatal || errors.Is(err, kerr.UnknownTopicOrPartition)
}

// refusedAt says what to do about a record of a task that the brokers do not take.
func refusedAt(t offsets.Task, err error) error {
	fix := "look at the settings of the topic"
	switch {
	case errors.Is(err, kerr.InvalidTimestamp):
		fix = "the record's time is too far from the broker's clock: raise message.timestamp.after.max.ms or message.timestamp.before.max.ms of the topic, or mend the event time"
	case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.RecordListTooLarge):
		fix = "raise max.message.bytes of the topic"
	case errors.Is(err, kerr.InvalidRecord):
		fix = "a compacted topic takes no record without a key"
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		fix = "create the topic again"
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		fix = "give the user the right to write to the topic"
	}
	return &Error{What: err.Error(), Where: "task " + t.String(), Fix: fix, Err: errors.Join(ErrSink, err)}
}

// unreachable turns the failure of the first talk with the brokers into something that a
// person can act on.
func unreachable(brokers []string, err error) error {
	if v := judge(err); v == verdictFatal {
		return &Error{What: err.Error(), Where: fmt.Sprintf("brokers %v", brokers), Err: errors.Join(ErrUnreachable, err),
			Fix: "check TLS, user and password, and the rights of the user"}
	}
	return &Error{What: "no broker answered: " + err.Error(), Where: fmt.Sprintf("brokers %v", brokers), Err: errors.Join(ErrUnreachable, err),
		Fix: "check the addresses and the network, and that TLS, user and password are what the listener asks for"}
}
