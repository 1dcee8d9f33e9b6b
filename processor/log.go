package processor

import "github.com/rs/zerolog"

// newListener puts the log before the given listeners: logging is a listener like others.
func newListener(log zerolog.Logger, given []*Listener) listener {
	return listener{append([]*Listener{logListener(log)}, given...)}
}

func logListener(log zerolog.Logger) *Listener {
	return &Listener{
		WorkerStarted: func(i WorkerInfo) {
			log.Info().Str("instance", i.Instance).Int("lanes", i.Lanes).Msg("worker started")
		},
		TasksAssigned: func(i AssignedInfo) {
			log.Info().Int("lane", i.Lane).Int32("generation", i.Generation).Any("partitions", i.Partitions).Msg("assigned")
		},
		TaskRestoring: func(i RestoringInfo) {
			log.Info().Stringer("task", i.Task).Str("store", i.Store).Str("base", i.Base).Int64("from", i.From).Int64("next", i.Next).Int64("end", i.End).
				Int64("done", i.Done).Int64("total", i.Total).Int64("records", i.Records).Dur("elapsed_ms", i.Elapsed).Msg("restoring")
		},
		TaskRestored: func(i RestoredInfo) {
			log.Info().Stringer("task", i.Task).Str("base", i.Base).Int64("records", i.Records).Dur("took_ms", i.Took).Any("positions", i.Positions).Msg("task restored")
		},
		StandbyReady: func(i StandbyInfo) {
			log.Info().Stringer("task", i.Task).Int64("records", i.Records).Dur("took_ms", i.Took).Msg("standby ready")
		},
		TaskClosed: func(i ClosedInfo) {
			log.Info().Stringer("task", i.Task).Str("reason", i.Reason).Msg("task closed")
		},
		TaskFailed: func(i FailedInfo) {
			log.Error().Stringer("task", i.Task).Int("attempt", i.Attempt).Str("strategy", i.Strategy).Dur("retry_ms", i.Retry).Err(i.Err).Msg("task failed")
		},
		TaskGaveUp: func(i GaveUpInfo) {
			log.Error().Stringer("task", i.Task).Int("attempt", i.Attempt).Str("strategy", i.Strategy).Err(i.Err).Msg("task given up, the worker ends")
		},
		EpochCommitted: func(i CommittedInfo) {
			log.Debug().Int("lane", i.Lane).Int64("records", i.Records).Int64("internal", i.Internal).Int64("bytes", i.Bytes).Int("changelog", i.Changelog).Dur("took_ms", i.Took).Msg("committed")
		},
		EpochAborted: func(i AbortedInfo) {
			log.Warn().Int("lane", i.Lane).Int64("records", i.Records).Int64("internal", i.Internal).Str("reason", i.Reason).Msg("epoch rolled back")
		},
		EpochInDoubt: func(i DoubtInfo) {
			log.Warn().Int("lane", i.Lane).Str("reason", i.Reason).Msg("asking Kafka about the last epoch")
		},
		TransactionEnded: func(i FencedInfo) {
			log.Info().Str("transactional_id", i.TransactionalID).Msg("ended the transaction of a departed member")
		},
		CheckpointsFail: func(i CheckpointsFailInfo) {
			log.Error().Uint64("last", i.Last).Int("failures", i.Failures).Str("reason", i.Reason).Msg("checkpoints fail")
		},
		WorkerStopping: func(i StoppingInfo) { log.Info().Str("why", i.Why).Msg("stopping") },
		Rewound: func(r RewindReport) {
			log.Info().Str("id", r.ID).Bool("done_before", r.Done).Uint32("timeline", r.Timeline).Uint32("previous", r.Previous).Str("from", r.From).Uint64("cut", r.Cut).
				Int64("rows", r.Rows).Int64("records", r.Records).Int64("bytes", r.Bytes).Strs("added", r.Added).Strs("not_restored", r.NotRestored).
				Any("superseded", r.Superseded).Dur("took_ms", r.Took).Msg("rewound")
		},
		Warning: func(i WarningInfo) { log.Warn().Err(i.Err).Msg(i.What) },
	}
}
