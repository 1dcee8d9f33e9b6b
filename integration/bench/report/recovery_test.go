package report

import (
	"strings"
	"testing"
)

func recoveries() []Recovery {
	kept := func(first float64, restored int64) Restart {
		return Restart{Directory: true, First: first, All: first + 0.5, Restored: restored, RestoreSeconds: 0.25}
	}
	lost := func(first float64) Restart {
		return Restart{First: first, All: first + 1, Restored: 2_000_000, RestoreSeconds: 4}
	}
	of := func(system, setting string, restarts ...Restart) Recovery {
		return Recovery{System: system, Setting: setting, Keys: 1_000_000, Records: 2_000_000, Rate: 20_000, Restarts: restarts}
	}
	return []Recovery{
		of(Weir, "", kept(0.5, 300_000), lost(10), kept(0.7, 400_000), lost(9), kept(0.9, 200_000), lost(11)),
		of(Weir, "fixed id", kept(0.4, 99_999), lost(1.25)),
		of(Streams, "", kept(49, 2_000_000), lost(50)),
		of(Streams, "6 s sessions", lost(12)),
		of(Streams, "fixed id", lost(5)),
	}
}

// Each system is compared with weir at the same setting, and with its defaults where there is none.
func TestRecoveryTable(t *testing.T) {
	want := `| count, killed and started again | system | first new commit, s | all partitions, s | K changelog records read | M/s | weir is ahead by |
|---|---|---|---|---|---|---|
| 1 M keys, state directory kept | weir | 0.7 (0.5-0.9) | 1.2 (1.0-1.4) | 300 | 1.20 |  |
| 1 M keys, state directory kept | weir, fixed id | 0.4 (0.4-0.4) | 0.9 (0.9-0.9) | 100 |  |  |
| 1 M keys, state directory kept | Kafka Streams | 49.0 (49.0-49.0) | 49.5 (49.5-49.5) | 2000 | 8.00 | 70.0 |
| 1 M keys, state directory lost | weir | 10.0 (9.0-11.0) | 11.0 (10.0-12.0) | 2000 | 0.50 |  |
| 1 M keys, state directory lost | weir, fixed id | 1.2 (1.2-1.2) | 2.2 (2.2-2.2) | 2000 | 0.50 |  |
| 1 M keys, state directory lost | Kafka Streams | 50.0 (50.0-50.0) | 51.0 (51.0-51.0) | 2000 | 0.50 | 5.0 |
| 1 M keys, state directory lost | Kafka Streams, 6 s sessions | 12.0 (12.0-12.0) | 13.0 (13.0-13.0) | 2000 | 0.50 | 1.2 |
| 1 M keys, state directory lost | Kafka Streams, fixed id | 5.0 (5.0-5.0) | 6.0 (6.0-6.0) | 2000 | 0.50 | 4.0 |
`
	if got := strings.TrimPrefix((Report{Recovery: recoveries()}).Markdown(), "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// The order in which settings were measured does not decide with which of them others are compared.
func TestOurs(t *testing.T) {
	all := recoveries()
	all[0], all[1] = all[1], all[0]
	r := Report{Recovery: all}
	for setting, want := range map[string]string{"": "", "fixed id": "fixed id", "6 s sessions": ""} {
		if got, ok := r.ours(setting); !ok || got.System != Weir || got.Setting != want {
			t.Errorf("%q is compared with %q, %q, want %q", setting, got.System, got.Setting, want)
		}
	}
	if got, ok := (Report{Recovery: all[2:]}).ours(""); ok {
		t.Errorf("without weir: %v", got)
	}
}
