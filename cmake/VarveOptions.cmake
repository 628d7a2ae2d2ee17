# Language level, warnings and sanitizers, gathered in one interface target that every target links.
set(CMAKE_C_STANDARD 17)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(VARVE_SANITIZE "" CACHE STRING "comma-separated sanitizers: address,undefined or thread or fuzzer,...")
option(VARVE_WERROR "treat warnings as errors" ON)
option(VARVE_PLANTED_BUGS "bugs on purpose, chosen by VARVE_PLANTED_BUG in the environment: never for use" OFF)
option(VARVE_COVERAGE "count which lines run (gcov), for tools/sim-coverage" OFF)
option(VARVE_LTO "optimise what is installed as a whole (gcc)" OFF)
set(VARVE_TESTS all CACHE STRING "built by default: all; quick (not benches and other tests); rest (not quick tests, nor each module alone)")
option(VARVE_FUZZ "build the fuzzers against libFuzzer (needs clang)" OFF)

add_library(varve_flags INTERFACE)
target_compile_definitions(varve_flags INTERFACE _GNU_SOURCE $<$<CONFIG:Debug>:VARVE_DEBUG>)
target_compile_options(varve_flags INTERFACE
  -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wconversion -Wsign-conversion
  # Outputs stay untouched on failure, which gcc 12 takes for uninitialised; clang-tidy's flow analysis and valgrind watch that.
  -Wno-maybe-uninitialized
  -Wswitch-enum -Wformat=2 $<$<NOT:$<BOOL:${VARVE_LTO}>>:-fno-omit-frame-pointer> $<$<BOOL:${VARVE_WERROR}>:-Werror>)
# Debian's gcc 12.2 deletes calls to functions whose only effect is stores through induction variables (tests/unit/base/
# test_compiler.c has a case); without that pass the code is right.
if(CMAKE_C_COMPILER_ID STREQUAL GNU)
  target_compile_options(varve_flags INTERFACE -fno-ivopts)
endif()
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  target_compile_options(varve_flags INTERFACE -msse4.2)
endif()
# Fat objects: varve and libvarve.so are made of what the linker reads of them again, as a whole (targets with the property
# VARVE_WHOLE); tests and benches, of which there are many, of their machine code.
if(VARVE_LTO AND CMAKE_C_COMPILER_ID STREQUAL GNU)
  target_compile_options(varve_flags INTERFACE -flto=auto -ffat-lto-objects)
  target_link_options(varve_flags INTERFACE $<IF:$<BOOL:$<TARGET_PROPERTY:VARVE_WHOLE>>,-flto=auto,-fno-lto>)
endif()
if(VARVE_PLANTED_BUGS)
  target_compile_definitions(varve_flags INTERFACE VARVE_PLANTED_BUGS)
endif()
if(VARVE_COVERAGE)
  target_compile_options(varve_flags INTERFACE --coverage)
  target_link_options(varve_flags INTERFACE --coverage)
endif()
if(VARVE_FUZZ) # coverage for libFuzzer in the modules too, or it would only see the fuzzers themselves
  target_compile_options(varve_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(VARVE_SANITIZE)
  target_compile_options(varve_flags INTERFACE -fsanitize=${VARVE_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(varve_flags INTERFACE -fsanitize=${VARVE_SANITIZE})
endif()
