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
if(TARGET varve_command)
  install(TARGETS varve_command RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
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

# The command knows its verbs and options best: it prints its own completions and manual.
if(TARGET varve_command)
  set(completions "")
  foreach(shell bash zsh fish)
    add_custom_command(OUTPUT ${PROJECT_BINARY_DIR}/docs/completion.${shell}
      COMMAND $<TARGET_FILE:varve_command> completion ${shell} > ${PROJECT_BINARY_DIR}/docs/completion.${shell}
      DEPENDS varve_command VERBATIM COMMENT "Making the completion for ${shell}")
    list(APPEND completions ${PROJECT_BINARY_DIR}/docs/completion.${shell})
  endforeach()
  set(command_page ${PROJECT_BINARY_DIR}/docs/varve.1)
  set(page_generator ${PROJECT_SOURCE_DIR}/tools/gen-command-page)
  add_custom_command(OUTPUT ${command_page}
    COMMAND ${page_generator} $<TARGET_FILE:varve_command> ${PROJECT_VERSION} ${command_page}
    DEPENDS varve_command ${page_generator} VERBATIM COMMENT "Making the command's manual page")
  add_custom_target(varve_command_docs ALL DEPENDS ${completions} ${command_page})
  install(FILES ${PROJECT_BINARY_DIR}/docs/completion.bash
    DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME varve)
  install(FILES ${PROJECT_BINARY_DIR}/docs/completion.zsh
    DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions RENAME _varve)
  install(FILES ${PROJECT_BINARY_DIR}/docs/completion.fish
    DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d RENAME varve.fish)
  install(FILES ${command_page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
endif()
