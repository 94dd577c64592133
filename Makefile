# The two commands a newcomer needs are `make demo` and `make test`. Both do their own set-up; all they need is Go
# (the race detector also wants a C compiler; without one it is left out, and said).
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS  = -s -w -X wanctl/internal/cli.Version=$(VERSION)
BIN      = bin/wanctl

# The lint tool, pinned. It is built by Go into its own place, outside the module.
LINT_VERSION = v2.15.0
TOOLS        = $(shell $(GO) env GOPATH)/wanctl-tools/$(LINT_VERSION)

# The tool that packs deb, rpm and apk, pinned and built the same way.
NFPM_VERSION = v2.45.2
NFPM         = $(shell $(GO) env GOPATH)/wanctl-tools/nfpm-$(NFPM_VERSION)/nfpm

.PHONY: build demo test test-long lint bench cover footprint soak lab lab-image packages image nfpm nfpm-path clean

build: ## the static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/wanctl

demo: build ## an evening on two lines, without and with wanctl
	$(BIN) demo

test: ## all tests; says at the end what could not run here
	scripts/test

test-long: ## the same, then the properties with 5000 cases each and every fuzz target for a minute
	WANCTL_LONG=1 scripts/test

lint: $(TOOLS)/golangci-lint ## formatting, imports, mistakes
	$(TOOLS)/golangci-lint run ./...

$(TOOLS)/golangci-lint:
	GOBIN=$(TOOLS) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

bench: ## speeds: the cores, the pinger, a simulated day against the clock
	$(GO) test -run '^$$' -bench . -benchmem ./internal/... | grep -E '^(pkg|Benchmark)' | grep -B1 '^Benchmark' | grep -v '^--'
	$(GO) run ./cmd/wanctl sim day --speed | tail -1

cover: ## coverage of the words, the judgement and the paper
	scripts/cover

footprint: build ## memory and CPU of both WANs and steering
	scripts/footprint

# DAYS=0 or SOAK=0 leaves one of them out; JSON=DIR has the reports with every sample written there.
SOAK ?= 1h
DAYS ?= 30
soak: build ## a simulated month, then an hour of the real processes (as root): fails when anything grows
	$(GO) test -c -o bin/soak.test ./internal/lab/soak
	bin/soak.test -test.timeout 0 -test.run 'TestSimulated$$|TestReal$$' -soak.days $(DAYS) -soak.real $(SOAK) \
		-soak.program $(abspath $(BIN)) $(if $(JSON),-soak.json $(JSON))

lab-image: build ## the lab's machine: about 7 minutes, once
	$(BIN) lab image

# TRACES=DIR plays recordings of real links instead of their synthetic twins.
lab: lab-image ## every scenario on a real kernel, over an hour on 2 cores; writes docs/lab
	$(BIN) lab run all --controller none --controller static --controller wanctl --controller tracking \
		--out lab-results $(if $(TRACES),--traces $(TRACES))
	$(BIN) lab compare --docs docs/lab lab-results/*/

packages: nfpm ## deb, rpm, apk and a tarball for OpenWrt into dist, for three architectures
	GO=$(GO) VERSION=$(VERSION) scripts/packages dist $(NFPM)

image: ## container images into dist, for three architectures
	GO=$(GO) VERSION=$(VERSION) scripts/images dist

nfpm: $(NFPM)
nfpm-path:
	@echo $(NFPM)

$(NFPM):
	GOBIN=$(dir $(NFPM)) $(GO) install github.com/goreleaser/nfpm/v2/cmd/nfpm@$(NFPM_VERSION)

clean:
	rm -rf bin
