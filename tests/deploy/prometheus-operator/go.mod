// The ServiceMonitor's CustomResourceDefinition is taken from this module: see ../schemas.rs. No Go code of it is built.
module migrationlink.dev/tests/prometheus-operator

go 1.26.8

require github.com/prometheus-operator/prometheus-operator v0.85.0
