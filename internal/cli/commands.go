package cli

import "github.com/spf13/cobra"

// commands returns the makers of the subcommands, in the order in which help lists their groups.
func commands() []func(*env) *cobra.Command {
	return []func(*env) *cobra.Command{
		newCreate,
		newEstimate,
		newImport,
		newExport,
		newConvert,
		newStatus,
		newTop,
		newLog,
		newHistory,
		newShow,
		newRefs,
		newClasses,
		newFiles,
		newServe,
		newConfig,
		newHealth,
		newDoctor,
		newTryLock,
		newCerts,
		newPack,
		newGC,
		newSnapshot,
		newBackup,
		newRestore,
		newCheck,
		newRecover,
		newSalvage,
		newBench,
		newDemo,
		newDemoWriter,
		newEvery,
		newMan,
		newCompletion,
		newVersion,
	}
}
