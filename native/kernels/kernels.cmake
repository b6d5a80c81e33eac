# The kernels' sources, for the extension and for their test: each instruction set is a file with its
# own flags, everything else is the baseline of the platform. Sets INGLE_KERNELS and INGLE_DEFINITIONS.
set(INGLE_KERNELS ${CMAKE_CURRENT_LIST_DIR}/dispatch.cpp ${CMAKE_CURRENT_LIST_DIR}/generic.cpp)
set(INGLE_DEFINITIONS "")
macro(ingle_kernel name)
  list(APPEND INGLE_KERNELS ${CMAKE_CURRENT_LIST_DIR}/${name}.cpp)
  set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/${name}.cpp PROPERTIES COMPILE_OPTIONS "${ARGN}")
endmacro()
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  list(APPEND INGLE_DEFINITIONS INGLE_X86=1)
  ingle_kernel(avx2 -mavx2 -mfma -mf16c)
  ingle_kernel(avx512vnni -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mfma -mf16c
    -mprefer-vector-width=512)
  ingle_kernel(avx512vbmi -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx512vbmi -mfma -mf16c
    -mprefer-vector-width=512)
  ingle_kernel(avx512bf16 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512bf16 -mfma
    -mprefer-vector-width=512)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64|ARM64")
  list(APPEND INGLE_DEFINITIONS INGLE_ARM64=1)
  ingle_kernel(neon)
  ingle_kernel(neon_dotprod -march=armv8.2-a+dotprod)
endif()

# No fast-math: the order of every float operation is part of a kernel's contract.
set(INGLE_OPTIONS -O3 -ffp-contract=off -fno-math-errno -fno-trapping-math
  -Wall -Wextra -Wno-psabi -Wno-ignored-attributes
  -Wno-maybe-uninitialized -Wno-uninitialized)  # GCC 12's own AVX-512 headers trip the last one
