# `make help` lists what there is. Two commands do all the set-up on a machine with only Go: `make demo`, `make test`.

GO ?= go
# Linters are built from source at these versions, where no installed golangci-lint is found.
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# The race detector needs a C compiler.
RACE := $(shell command -v $${CC:-gcc} >/dev/null 2>&1 && [ "$$(CGO_ENABLED= $(GO) env CGO_ENABLED)" = 1 ] && echo -race)
UNIT := $(shell $(GO) list -e ./... 2>/dev/null | grep -v /integration)

# How long `make chaos` goes on, how many commits `make soak` makes on one transactional id, what `make profile` runs;
# of `make bench`: how many records each input has, how many rounds there are, how many of kills, what runs, on what, where the
# results go; with SCALE=1 which CURVES, and the page that shows them; with CHECKPOINTS=1 which PARTS.
D ?= 5m
COMMITS ?= 33000
WORKLOAD ?= count
RECORDS ?= 2000000
ROUNDS ?= 3
RECOVERY ?= 3
WORKLOADS ?= pass,count,window,rekey
SCALE ?=
CHECKPOINTS ?=
PARTS ?= blocking,lag,standby,loss,duration,restore
PAGE ?=
CURVES ?= tasks,keys,workers,state,skew,interval
SYSTEMS ?= weir,slow,streams,tuned,flink,flinktuned
JSON ?= bin/$(if $(SCALE),scale,$(if $(CHECKPOINTS),checkpoints,bench)).json
SEED ?=

.DEFAULT_GOAL := help
.PHONY: help demo test unit virtual integration faults proof chaos soak bench recovery microbench profile lint fmt kafka compose-image compose clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

demo: ## the main job on the embedded broker: two workers, one killed, every result exactly once
	$(GO) run ./cmd/weir demo

test: unit virtual integration faults ## every test; those against a real Kafka are skipped where there is none

unit: ## tests that need nothing but this process (race detector where a C compiler is there)
	$(GO) test $(RACE) -timeout 10m $(UNIT)

# synctests makes the Kafka client's locks known to testing/synctest, so that time moves only when nothing else can;
# with failpoints the engine can be told to make mistakes, which the checks must notice.
virtual: ## the engine on the fake broker in virtual time; SEEDS=3000 plays more schedules
	WEIR_SEEDS=$(or $(SEEDS),300) $(GO) test -v -tags synctests,failpoints -run '^TestVirtual' -timeout 10m ./processor
ifneq ($(RACE),)
	WEIR_SEEDS=$(or $(SEEDS),30) $(GO) test -v $(RACE) -tags synctests,failpoints -run '^TestVirtualFaults$$' -timeout 10m ./processor
endif

# One package at a time: each may run three brokers.
integration: ## the rules of the house, and the tests' own tools on a real Kafka
	@$(GO) run ./integration/kafkatest/kafka -check
	$(GO) test -p 1 -timeout 14m $(filter-out %/eos %/snapshots,$(shell $(GO) list -e ./integration/... 2>/dev/null))

faults: ## worker processes on a real Kafka that are killed at each step; checkpoints, savepoints, rewinds, forks, standbys
	@$(GO) run ./integration/kafkatest/kafka -check
	$(GO) test -p 1 -timeout 20m ./integration/eos ./integration/snapshots

proof: ## each promise of docs/fault-tolerance.md, its tests, and their results
	@$(GO) run ./integration/proof

chaos: ## 100,000 schedules of the machines of epochs and cuts, then random kills, stops and faults on a real Kafka for D=5m; SEED=n repeats a run
	WEIR_SCHEDULES=100000 $(GO) test -count=1 -timeout 30m -run '^TestExploration$$' ./processor/internal/epoch ./processor/internal/checkpoint
	WEIR_REQUIRE_KAFKA=1 WEIR_CHAOS=$(D) WEIR_SEED=$(SEED) $(GO) test -v -count=1 -timeout 0 -run '^Test(Chaos|ChaosRewind|MarkersSurviveBrokers)$$' ./integration/eos

soak: ## long runs: past the overflow of the producer epoch, and memory that stays flat
	WEIR_REQUIRE_KAFKA=1 WEIR_SOAK=$(COMMITS) $(GO) test -v -count=1 -timeout 0 -run '^TestSoak' ./integration/eos

recovery: ## what kills cost, as in bench, but of weir alone: RECORDS, RECOVERY (rounds)
	$(GO) build -o bin/weir ./cmd/weir
	$(GO) run ./integration/bench -systems weir -rounds 0 -latency 0 -recovery $(RECOVERY) -records $(RECORDS)

# Needs Java 17 and Maven. RECORDS=5000000 JSON=integration/bench/results.json is what README.md shows, about an hour;
# SCALE=1 JSON=integration/bench/scale.json PAGE=docs/scale.md what docs/scale.md shows, half an hour;
# CHECKPOINTS=1 JSON=integration/bench/checkpoints.json what docs/fault-tolerance.md shows, as long.
bench: ## weir beside Kafka Streams and Flink on one real Kafka, every output verified: RECORDS, ROUNDS, WORKLOADS, SYSTEMS, RECOVERY (rounds of kills), JSON=file for the results; SCALE=1: how weir's cost grows, table and drawing, CURVES; CHECKPOINTS=1: what checkpoints cost and save, PARTS
	$(GO) build -o bin/weir ./cmd/weir
ifneq ($(CHECKPOINTS),)
	$(GO) run ./integration/bench -cuts -records $(RECORDS) -rounds $(ROUNDS) -recovery $(RECOVERY) -parts $(PARTS) -json $(JSON)
else ifeq ($(SCALE),)
	cd integration/bench/streams && mvn -B -q compile dependency:copy-dependencies
	cd integration/bench/flink && mvn -B -q compile dependency:copy-dependencies
	WEIR_KAFKA=java $(GO) run ./integration/bench -records $(RECORDS) -rounds $(ROUNDS) -workloads $(WORKLOADS) -systems $(SYSTEMS) -recovery $(RECOVERY) -json $(JSON)
else
	$(GO) run ./integration/bench -scale -records $(RECORDS) -rounds $(ROUNDS) -curves $(CURVES) -json $(JSON)
	$(GO) run ./integration/bench -draw -json $(JSON)$(if $(PAGE), -page $(PAGE))
endif

microbench: ## Go benchmarks with allocations
	$(GO) test -run '^$$' -bench . -benchmem $(UNIT)

profile: ## CPU profile of one worker against a real Kafka: WORKLOAD=pass|count|window|rekey
	integration/profile.sh $(WORKLOAD)

lint: ## vet, gofmt, and golangci-lint or, where that is not installed, staticcheck
	$(GO) vet ./...
	$(GO) vet -tags failpoints,synctests ./...
	@files=$$(gofmt -l .); [ -z "$$files" ] || { echo "gofmt would change:"; echo "$$files"; exit 1; }
	@if command -v golangci-lint >/dev/null 2>&1; then echo golangci-lint run; golangci-lint run; \
	else echo $(GO) run $(STATICCHECK) ./...; $(GO) run $(STATICCHECK) ./...; fi

fmt: ## gofmt in place
	gofmt -w .

kafka: ## a real Kafka of one broker, until interrupted; prints its address
	$(GO) run ./integration/kafkatest/kafka

compose-image: ## images for docker-compose.yml without an image registry (see deploy/README.md)
	deploy/kafka-image/build.sh
	deploy/weir-image/build.sh

compose: ## the demo against Kafka, both in containers
	docker-compose up --abort-on-container-exit --exit-code-from demo

clean: ## what the targets above leave behind in this directory
	rm -rf bin profiles
