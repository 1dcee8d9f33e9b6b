#!/usr/bin/env bash
# CPU profile of one worker on a real Kafka, in profiles/: integration/profile.sh WORKLOAD [RECORDS]
# The broker comes from the harness of the tests; the worker alone is measured.
set -euo pipefail
cd "$(dirname "$0")/.."
workload=${1:-count}
records=${2:-5000000}
mkdir -p bin profiles
go build -o bin/weir ./cmd/weir
go build -o bin/kafka ./integration/kafkatest/kafka
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
export workload records state

bin/kafka -heap 1024 -cmd '
  set -e
  bin/weir bench load --brokers "$KAFKA_BROKERS" --topic profile-in --records "$records" --keys 100000 --value-bytes 100 --partitions 4
  bin/weir bench worker --workload "$workload" --brokers "$KAFKA_BROKERS" --app profile --in profile-in --out profile-out \
    --state-dir "$state" --until-idle 3s --cpu-profile "profiles/$workload.prof"
'
go tool pprof -top -nodecount 40 bin/weir "profiles/$workload.prof" | tee "profiles/$workload.txt"
