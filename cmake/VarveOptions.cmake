# Language level, warnings and sanitizers, gathered in one interface target that every target links.
set(CMAKE_C_STANDARD 17)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(VARVE_SANITIZE "" CACHE STRING "comma-separated sanitizers: address,undefined or thread or fuzzer,...")
option(VARVE_WERROR "treat warnings as errors" ON)
option(VARVE_FUZZ "build the fuzzers against libFuzzer (needs clang)" OFF)

add_library(varve_flags INTERFACE)
target_compile_definitions(varve_flags INTERFACE _GNU_SOURCE $<$<CONFIG:Debug>:VARVE_DEBUG>)
target_compile_options(varve_flags INTERFACE
  -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wconversion -Wsign-conversion
  -Wswitch-enum -Wformat=2 -fno-omit-frame-pointer $<$<BOOL:${VARVE_WERROR}>:-Werror>)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  target_compile_options(varve_flags INTERFACE -msse4.2)
endif()
if(VARVE_FUZZ) # coverage for libFuzzer in the modules too, or it would only see the fuzzers themselves
  target_compile_options(varve_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(VARVE_SANITIZE)
  # gcc 12 sees uninitialised values that are none once a sanitizer rewrote the code; the plain builds keep the warning.
  target_compile_options(varve_flags INTERFACE -fsanitize=${VARVE_SANITIZE} -fno-sanitize-recover=all -Wno-maybe-uninitialized)
  target_link_options(varve_flags INTERFACE -fsanitize=${VARVE_SANITIZE})
endif()
