# What `cmake --install build/release` lays down: header, both libraries, the command, pkg-config and CMake descriptions,
# manual pages, completions and licence.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# What a static link needs besides libvarve.a. The modules inside the archive need these Debian libraries.
set(VARVE_PC_REQUIRES_PRIVATE "libbson-1.0 libzstd libxxhash")
set(VARVE_PC_LIBS_PRIVATE_LIST m)
if(VARVE_ROCKS)
  list(PREPEND VARVE_PC_LIBS_PRIVATE_LIST rocksdb)
endif()
list(TRANSFORM VARVE_PC_LIBS_PRIVATE_LIST PREPEND -l OUTPUT_VARIABLE VARVE_PC_LIBS_PRIVATE)
list(JOIN VARVE_PC_LIBS_PRIVATE " " VARVE_PC_LIBS_PRIVATE)
set(VARVE_PC_LIBS_PRIVATE "${VARVE_PC_LIBS_PRIVATE} -pthread")

set_target_properties(varve_shared PROPERTIES OUTPUT_NAME varve VERSION ${PROJECT_VERSION} SOVERSION 0)
install(TARGETS varve_shared LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET varve_static)
  set_target_properties(varve_static PROPERTIES OUTPUT_NAME varve)
  install(TARGETS varve_static ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
install(FILES ${PROJECT_SOURCE_DIR}/include/varve/varve.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/varve)
if(TARGET varve)
  set_target_properties(varve PROPERTIES INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
  install(TARGETS varve RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

# Both descriptions find their folder from where they lie, so that an installed tree may be moved.
set(pc_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH VARVE_PC_PREFIX /${pc_dir} /)
string(REGEX REPLACE "/$" "" VARVE_PC_PREFIX "${VARVE_PC_PREFIX}")
configure_file(${PROJECT_SOURCE_DIR}/cmake/varve.pc.in ${PROJECT_BINARY_DIR}/varve.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/varve.pc DESTINATION ${pc_dir})
set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/Varve)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/VarveConfig.cmake.in
  ${PROJECT_BINARY_DIR}/VarveConfig.cmake INSTALL_DESTINATION ${config_dir}
  PATH_VARS CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_LIBDIR)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/VarveConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/VarveConfig.cmake ${PROJECT_BINARY_DIR}/VarveConfigVersion.cmake
  DESTINATION ${config_dir})

# The reference is made from the header, so that it cannot drift from it.
set(generator ${PROJECT_SOURCE_DIR}/tools/gen-reference)
set(header ${PROJECT_SOURCE_DIR}/include/varve/varve.h)
set(reference ${PROJECT_BINARY_DIR}/docs/libvarve.md)
set(manual ${PROJECT_BINARY_DIR}/docs/varve.3)
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/docs)
add_custom_command(OUTPUT ${reference} ${manual}
  COMMAND ${generator} markdown ${header} ${reference}
  COMMAND ${generator} man ${header} ${manual}
  DEPENDS ${generator} ${header} VERBATIM COMMENT "Making the reference from varve.h")
add_custom_target(varve_reference ALL DEPENDS ${reference} ${manual})
install(FILES ${manual} DESTINATION ${CMAKE_INSTALL_MANDIR}/man3)
install(FILES ${reference} ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/README.md ${PROJECT_SOURCE_DIR}/CHANGELOG.md
  DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES ${PROJECT_SOURCE_DIR}/examples/history.c DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)
if(EXISTS ${PROJECT_SOURCE_DIR}/docs/man/varve.1)
  install(FILES ${PROJECT_SOURCE_DIR}/docs/man/varve.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
endif()

# Completions lie beside the command's sources.
set(completions ${PROJECT_SOURCE_DIR}/src/apps/cli/completions)
if(EXISTS ${completions}/varve.bash)
  install(FILES ${completions}/varve.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME varve)
endif()
if(EXISTS ${completions}/_varve)
  install(FILES ${completions}/_varve DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
endif()
if(EXISTS ${completions}/varve.fish)
  install(FILES ${completions}/varve.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
endif()
