package zodb

// HistoryEntry is one revision of an object.
type HistoryEntry struct {
	TID  TID
	Meta TxnMeta
	// Packed: the transaction was packed away, so Meta is empty.
	Packed  bool
	Size    int  // of the data, in bytes
	Exists  bool // false: a deletion or an undone creation
	HasBlob bool
	// UndoFrom is the revision whose data an undo brought back; 0 = the data is new.
	UndoFrom TID
	// Damage is the fault of the revision or its transaction; nil = none. With damage, the other
	// fields hold the facts that are known all the same.
	Damage error
}

// UndoEntry is one line of the undo log.
type UndoEntry struct {
	*Transaction
	Undoable bool
	Reason   string // why not
	// Damage is the fault of the storage if that is the reason; nil if a needed revision was packed
	// away.
	Damage error
}
