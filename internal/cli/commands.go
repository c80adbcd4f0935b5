package cli

import "github.com/spf13/cobra"

// commands makes the subcommands, in the order in which help lists their groups.
var commands = []func(*env) *cobra.Command{
	newCreate,
	newImport,
	newExport,
	newConvert,
	newStatus,
	newLog,
	newHistory,
	newShow,
	newRefs,
	newFiles,
	newServe,
	newConfig,
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
	newVersion,
}
