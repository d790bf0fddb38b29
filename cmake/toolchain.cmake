# Compiler settings that hold for every target: warnings as errors, hardening, ccache, mold, sanitizers.

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      ${CCACHE_PROGRAM})
endif()

find_program(MOLD_PROGRAM mold)
if(MOLD_PROGRAM)
  add_link_options(-fuse-ld=mold)
endif()

add_compile_options(
  -Wall -Wextra -Wshadow -Wconversion -Wsign-conversion -Wold-style-cast -Wnon-virtual-dtor -Woverloaded-virtual
  -Wundef -Wimplicit-fallthrough -Wswitch-enum -Wno-switch-enum -Werror
  -fno-omit-frame-pointer -fstack-protector-strong -fPIE)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 reports false positives of these from inside the standard library at -O2.
  add_compile_options(-Wno-restrict -Wno-stringop-overflow -Wno-array-bounds -Wno-stringop-overread
                      -Wno-maybe-uninitialized -Wno-dangling-pointer -Wno-missing-field-initializers)
else()
  # Members that have defaults may be left out of a designated initialiser.
  add_compile_options(-Wthread-safety -Wno-missing-designated-field-initializers -Wno-missing-field-initializers)
endif()
add_link_options(-pie -Wl,-z,relro,-z,now)

# Asserts are part of the product: NDEBUG is never defined, FLUX_DCHECK has a switch of its own.
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1")
set(CMAKE_CXX_FLAGS_DEBUG "-O0 -g")
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O1 -g1")
if(CMAKE_BUILD_TYPE STREQUAL "Release")
  add_compile_definitions(_FORTIFY_SOURCE=2)
else()
  add_compile_definitions(FLUX_DCHECK_ON=1)
endif()

if(FLUX_SANITIZE)
  add_compile_options(-fsanitize=${FLUX_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${FLUX_SANITIZE})
endif()
