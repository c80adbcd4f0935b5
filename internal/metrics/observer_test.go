package metrics_test

import (
	"github.com/dirstorage/dirstorage/internal/metrics"
	"github.com/dirstorage/dirstorage/internal/zeo"
)

// The server reports to it; not said in the package itself, so that it needs no server.
var _ zeo.Observer = (*metrics.Set)(nil)
