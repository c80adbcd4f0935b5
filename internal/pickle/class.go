package pickle

// maxName is the length in bytes up to which the name of a class, module or
// database is believed. It bounds the cost of many references to one name.
const maxName = 2000

// Class returns the class of the object that a record belongs to, from the
// first of its pickles; the second one is not looked at. The forms are:
//
//	class                      today's form
//	(class, args)              where the class has constructor arguments
//	((module, name), args)     old form; also (module, name) alone as the class
//	copy_reg.__newobj__ …      the class is the first argument of the call
//
// Anything else is a *[SyntaxError], as is a first pickle that is not well-formed.
func Class(record []byte) (module, name string, err error) {
	data, err := unwrap(record, maxUnwrapped)
	if err != nil {
		return "", "", err
	}
	return classOf(data)
}

// Of ClassAtOnce: how many bytes of a record, unpacked, it looks at. Of both functions: the memory
// for the values before the class is known; a hostile record has many millions of them.
const (
	classBytes  = 1 << 20
	classMemory = 32 << 20
)

// ClassAtOnce is as [Class], but that it looks at the first megabyte of a record alone, unpacked. So
// it costs little whatever follows, and does not see damage there.
func ClassAtOnce(record []byte) (module, name string, err error) {
	data, err := unwrapBeginning(record, classBytes)
	if err != nil {
		return "", "", err
	}
	return classOf(data)
}

func classOf(data []byte) (module, name string, err error) {
	m := machine{data: data, keep: true, memory: classMemory}
	v, err := m.run()
	if err != nil {
		return "", "", err
	}
	module, name, ok := m.class(v)
	if !ok {
		return "", "", m.fail(0, "first pickle does not name a class")
	}
	return module, name, nil
}

// class finds the class in a class metadata value.
func (m *machine) class(v value) (module, name string, ok bool) {
	// (class, args) first; below it a class or the (module, name) form.
	if v.kind == kindTuple && v.n == 2 {
		vs := m.elements(v)
		if module, name, ok := m.classNames(vs[0]); ok {
			if !isReconstructor(module, name) {
				return module, name, true
			}
			return m.firstArgument(vs[1])
		}
	}
	if v.kind == kindCall || v.kind == kindNew {
		n := m.nodes[v.off]
		module, name, ok := m.classNames(n.callee)
		if ok && isReconstructor(module, name) {
			return m.firstArgument(n.args)
		}
		return "", "", false
	}
	return m.classNames(v)
}

// classNames reads a global or a pair of module and name.
func (m *machine) classNames(v value) (module, name string, ok bool) {
	var vs []value
	switch {
	case v.kind == kindGlobal:
		vs = m.kids[v.off : v.off+2]
	case v.kind == kindTuple && v.n == 2:
		vs = m.elements(v)
	default:
		return "", "", false
	}
	for _, v := range vs {
		if !v.isString() || v.n > maxName {
			return "", "", false
		}
	}
	return m.text(vs[0]), m.text(vs[1]), true
}

// firstArgument reads the class that is the first of the arguments of a call.
func (m *machine) firstArgument(args value) (module, name string, ok bool) {
	if args.kind != kindTuple || args.n == 0 {
		return "", "", false
	}
	return m.classNames(m.elements(args)[0])
}

// isReconstructor reports whether a function makes an instance of the class
// that is its first argument.
func isReconstructor(module, name string) bool {
	if module != "copy_reg" && module != "copyreg" {
		return false
	}
	return name == "__newobj__" || name == "__newobj_ex__" || name == "_reconstructor"
}
