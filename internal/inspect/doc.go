// Package inspect answers the questions that an administrator asks about the contents of a storage:
// the state of an object as text, its history with the differences, its references in both
// directions, the way to it from the root object, the classes by count and bytes, and the backups as
// points in time.
//
// Everything reads, and nothing of a record is executed. Records are hostile until shown otherwise:
// each answer has bounds of bytes, of items and of memory, and says where it ends early. Time is
// bounded by the context; a search that the context ends returns its findings, and says so.
//
//	b := inspect.NewBrowser(storage, inspect.Options{Home: home})
//	o, err := b.Object(ctx, oid, 0)
//	fmt.Println(o.Class, o.Text.String)
//
// A [Browser] decodes one large record at a time, however many ask. A [Census] counts classes in the
// background.
package inspect
