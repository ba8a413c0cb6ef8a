// What the compiler was asked for: instruction set, exceptions, inlining.
#pragma once

#include <Eigen/Core>

#if defined(__FAST_MATH__)
#error "poolhead: compile without -ffast-math; it removes the NaN and rounding guarantees of every pool"
#endif
#if !defined(__GNUC__)
#error "poolhead needs GCC or Clang: its vector layer is written with their vector extensions"
#endif

// Code that depends on the instruction set lives in an inline namespace named after it, so translation units
// built with different -m flags can be linked into one program without sharing each other's functions.
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#if defined(__AVX512BF16__)
#define POOLHEAD_ISA avx512_bf16
#else
#define POOLHEAD_ISA avx512
#endif
#elif defined(__AVX2__) && defined(__FMA__)
#define POOLHEAD_ISA avx2
#elif defined(__AVX__)
#define POOLHEAD_ISA avx
#else
#define POOLHEAD_ISA baseline
#endif

#define POOLHEAD_INLINE [[gnu::always_inline]] inline

namespace poolhead {
using Index = Eigen::Index;
}
