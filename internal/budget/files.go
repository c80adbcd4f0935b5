package budget

const (
	fewFiles  = 256     // where nothing can be found out
	manyFiles = 1 << 20 // as good as no limit
)
