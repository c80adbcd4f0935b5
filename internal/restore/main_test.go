package restore_test

import (
	"os"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
)

func TestMain(m *testing.M) { os.Exit(hometest.M{M: m, Memory: true}.Run()) }
