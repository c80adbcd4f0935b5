package pickle

// The opcodes, named as in Python's pickle module.
const (
	opMark           = '('
	opStop           = '.'
	opPop            = '0'
	opPopMark        = '1'
	opDup            = '2'
	opFloat          = 'F'
	opInt            = 'I'
	opBinInt         = 'J'
	opBinInt1        = 'K'
	opLong           = 'L'
	opBinInt2        = 'M'
	opNone           = 'N'
	opPersID         = 'P'
	opBinPersID      = 'Q'
	opReduce         = 'R'
	opString         = 'S'
	opBinString      = 'T'
	opShortBinString = 'U'
	opUnicode        = 'V'
	opBinUnicode     = 'X'
	opAppend         = 'a'
	opBuild          = 'b'
	opGlobal         = 'c'
	opDict           = 'd'
	opEmptyDict      = '}'
	opAppends        = 'e'
	opGet            = 'g'
	opBinGet         = 'h'
	opInst           = 'i'
	opLongBinGet     = 'j'
	opList           = 'l'
	opEmptyList      = ']'
	opObj            = 'o'
	opPut            = 'p'
	opBinPut         = 'q'
	opLongBinPut     = 'r'
	opSetItem        = 's'
	opTuple          = 't'
	opEmptyTuple     = ')'
	opSetItems       = 'u'
	opBinFloat       = 'G'

	opProto    = 0x80
	opNewObj   = 0x81
	opExt1     = 0x82
	opExt2     = 0x83
	opExt4     = 0x84
	opTuple1   = 0x85
	opTuple2   = 0x86
	opTuple3   = 0x87
	opNewTrue  = 0x88
	opNewFalse = 0x89
	opLong1    = 0x8a
	opLong4    = 0x8b

	opBinBytes      = 'B'
	opShortBinBytes = 'C'

	opShortBinUnicode = 0x8c
	opBinUnicode8     = 0x8d
	opBinBytes8       = 0x8e
	opEmptySet        = 0x8f
	opAddItems        = 0x90
	opFrozenSet       = 0x91
	opNewObjEx        = 0x92
	opStackGlobal     = 0x93
	opMemoize         = 0x94
	opFrame           = 0x95

	opByteArray8     = 0x96
	opNextBuffer     = 0x97
	opReadonlyBuffer = 0x98
)

// argument is the kind of argument that follows an opcode.
type argument uint8

const (
	argUnknown  argument = iota // no such opcode
	argNone                     // nothing
	argFixed1                   // 1, 2, 4, 8 bytes
	argFixed2                   //
	argFixed4                   //
	argFixed8                   //
	argCounted1                 // a little-endian length of 1, 4 or 8 bytes and as many bytes
	argCounted4                 //
	argCounted8                 //
	argLine                     // a line of text, ended by a newline
	argTwoLines                 // two of them
)

// arguments is the table opcode → argument; it is never changed.
var arguments = [256]argument{
	opMark: argNone, opStop: argNone, opPop: argNone, opPopMark: argNone, opDup: argNone,
	opFloat: argLine, opInt: argLine, opBinInt: argFixed4, opBinInt1: argFixed1, opLong: argLine,
	opBinInt2: argFixed2, opNone: argNone, opPersID: argLine, opBinPersID: argNone, opReduce: argNone,
	opString: argLine, opBinString: argCounted4, opShortBinString: argCounted1, opUnicode: argLine,
	opBinUnicode: argCounted4, opAppend: argNone, opBuild: argNone, opGlobal: argTwoLines, opDict: argNone,
	opEmptyDict: argNone, opAppends: argNone, opGet: argLine, opBinGet: argFixed1, opInst: argTwoLines,
	opLongBinGet: argFixed4, opList: argNone, opEmptyList: argNone, opObj: argNone, opPut: argLine,
	opBinPut: argFixed1, opLongBinPut: argFixed4, opSetItem: argNone, opTuple: argNone,
	opEmptyTuple: argNone, opSetItems: argNone, opBinFloat: argFixed8,

	opProto: argFixed1, opNewObj: argNone, opExt1: argFixed1, opExt2: argFixed2, opExt4: argFixed4,
	opTuple1: argNone, opTuple2: argNone, opTuple3: argNone, opNewTrue: argNone, opNewFalse: argNone,
	opLong1: argCounted1, opLong4: argCounted4,

	opBinBytes: argCounted4, opShortBinBytes: argCounted1,

	opShortBinUnicode: argCounted1, opBinUnicode8: argCounted8, opBinBytes8: argCounted8,
	opEmptySet: argNone, opAddItems: argNone, opFrozenSet: argNone, opNewObjEx: argNone,
	opStackGlobal: argNone, opMemoize: argNone, opFrame: argFixed8,

	opByteArray8: argCounted8, opNextBuffer: argNone, opReadonlyBuffer: argNone,
}

// highestProtocol is the newest pickle protocol that is understood.
const highestProtocol = 5
