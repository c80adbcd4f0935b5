package budget

import (
	"os"
	"testing"
)

// TestKernelAndFileTellTheSameMemory of the machine.
func TestKernelAndFileTellTheSameMemory(t *testing.T) {
	t.Parallel()
	file := totalMemory(os.ReadFile)
	if file == 0 {
		t.Skip("there is no /proc/meminfo here")
	}
	// The kernel may give back some memory of its start meanwhile.
	if got := Machine(); got < file/100*99 || got > file/100*101 {
		t.Errorf("the kernel tells %d bytes, the file %d", got, file)
	}
}
