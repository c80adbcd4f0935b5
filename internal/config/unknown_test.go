package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUnknownVariablesAreNamed(t *testing.T) {
	t.Parallel()
	environment := []string{"HOME=/root", "DIRSTORAGE_FOO=1", "DIRSTORAGE_MAX_MESAGE=1", "XDIRSTORAGE_A=1",
		"DIRSTORAGE_SERVICE_HOST=10.0.0.1", "DIRSTORAGE_SERVICE_PORT=8100", "DIRSTORAGE_SERVICE_PORT_ZEO=8100", "DIRSTORAGE_PORT=tcp://10.0.0.1:8100",
		"DIRSTORAGE_PORT_8100_TCP=tcp://10.0.0.1:8100", "DIRSTORAGE_PORT_8100_TCP_ADDR=10.0.0.1"}
	for _, s := range table() {
		environment = append(environment, s.environment()+"=x")
	}
	want := []string{
		"environment DIRSTORAGE_FOO: there is no such setting",
		"environment DIRSTORAGE_MAX_MESAGE: there is no such setting; did you mean DIRSTORAGE_MAX_MESSAGE?",
	}
	if diff := cmp.Diff(want, UnknownVariables(environment)); diff != "" {
		t.Error(diff)
	}
}
