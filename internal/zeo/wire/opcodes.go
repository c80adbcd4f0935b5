package wire

// Opcodes of pickle.
const (
	opMARK           = '('
	opSTOP           = '.'
	opNONE           = 'N'
	opNEWTRUE        = 0x88
	opNEWFALSE       = 0x89
	opBININT         = 'J'
	opBININT1        = 'K'
	opBININT2        = 'M'
	opLONG1          = 0x8a
	opLONG4          = 0x8b
	opBINFLOAT       = 'G'
	opBINUNICODE     = 'X'
	opSHORT_BINBYTES = 'C'
	opBINBYTES       = 'B'
	opSHORT_BINSTR   = 'U'
	opBINSTRING      = 'T'
	opEMPTY_TUPLE    = ')'
	opTUPLE          = 't'
	opTUPLE1         = 0x85
	opTUPLE2         = 0x86
	opTUPLE3         = 0x87
	opEMPTY_LIST     = ']'
	opLIST           = 'l'
	opAPPEND         = 'a'
	opAPPENDS        = 'e'
	opEMPTY_DICT     = '}'
	opDICT           = 'd'
	opSETITEM        = 's'
	opSETITEMS       = 'u'
	opPUT            = 'p'
	opBINPUT         = 'q'
	opLONG_BINPUT    = 'r'
	opGET            = 'g'
	opBINGET         = 'h'
	opLONG_BINGET    = 'j'
	opGLOBAL         = 'c'
	opREDUCE         = 'R'
	opNEWOBJ         = 0x81
	opBUILD          = 'b'
	opPROTO          = 0x80

	// Only in stored extensions.
	opPOP              = '0'
	opPOP_MARK         = '1'
	opDUP              = '2'
	opINT              = 'I'
	opLONG             = 'L'
	opFLOAT            = 'F'
	opSTRING           = 'S'
	opUNICODE          = 'V'
	opINST             = 'i'
	opOBJ              = 'o'
	opPERSID           = 'P'
	opBINPERSID        = 'Q'
	opEXT1             = 0x82
	opEXT2             = 0x83
	opEXT4             = 0x84
	opSHORT_BINUNICODE = 0x8c
	opBINUNICODE8      = 0x8d
	opBINBYTES8        = 0x8e
	opEMPTY_SET        = 0x8f
	opADDITEMS         = 0x90
	opFROZENSET        = 0x91
	opNEWOBJ_EX        = 0x92
	opSTACK_GLOBAL     = 0x93
	opMEMOIZE          = 0x94
	opFRAME            = 0x95
	opBYTEARRAY8       = 0x96
)
