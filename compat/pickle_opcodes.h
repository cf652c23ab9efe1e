// The opcodes of Python's pickle, protocols 0 to 5 (pytorch-format.md 3.1).

#ifndef PENSTOCK_COMPAT_PICKLE_OPCODES_H_
#define PENSTOCK_COMPAT_PICKLE_OPCODES_H_

#include <cstdint>

namespace penstock::pickle {

// One byte each. Names are pickletools', in camel case.
enum Op : uint8_t {
  kMark = 0x28,
  kEmptyTuple = 0x29,
  kStop = 0x2E,
  kPop = 0x30,
  kPopMark = 0x31,
  kDup = 0x32,
  kBinBytes = 0x42,
  kShortBinBytes = 0x43,
  kFloat = 0x46,
  kBinFloat = 0x47,
  kInt = 0x49,
  kBinInt = 0x4A,
  kBinInt1 = 0x4B,
  kLong = 0x4C,
  kBinInt2 = 0x4D,
  kNone = 0x4E,
  kPersId = 0x50,
  kBinPersId = 0x51,
  kReduce = 0x52,
  kString = 0x53,
  kBinString = 0x54,
  kShortBinString = 0x55,
  kUnicode = 0x56,
  kBinUnicode = 0x58,
  kEmptyList = 0x5D,
  kAppend = 0x61,
  kBuild = 0x62,
  kGlobal = 0x63,
  kDict = 0x64,
  kAppends = 0x65,
  kGet = 0x67,
  kBinGet = 0x68,
  kInst = 0x69,
  kLongBinGet = 0x6A,
  kList = 0x6C,
  kObj = 0x6F,
  kPut = 0x70,
  kBinPut = 0x71,
  kLongBinPut = 0x72,
  kSetItem = 0x73,
  kTuple = 0x74,
  kSetItems = 0x75,
  kEmptyDict = 0x7D,
  kProto = 0x80,
  kNewObj = 0x81,
  kExt1 = 0x82,
  kExt2 = 0x83,
  kExt4 = 0x84,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8A,
  kLong4 = 0x8B,
  kShortBinUnicode = 0x8C,
  kBinUnicode8 = 0x8D,
  kBinBytes8 = 0x8E,
  kEmptySet = 0x8F,
  kAddItems = 0x90,
  kFrozenSet = 0x91,
  kNewObjEx = 0x92,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
  kByteArray8 = 0x96,
  kNextBuffer = 0x97,
  kReadOnlyBuffer = 0x98,
};

}  // namespace penstock::pickle

#endif  // PENSTOCK_COMPAT_PICKLE_OPCODES_H_
