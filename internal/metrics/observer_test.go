package metrics_test

import (
	"github.com/dirstorage/dirstorage/internal/metrics"
	"github.com/dirstorage/dirstorage/internal/zeo"
)

// What the server reports to; not said in the package itself, so that it needs no server.
var _ zeo.Observer = (*metrics.Set)(nil)
