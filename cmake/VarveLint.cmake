# Writes what the modules declared (see varve_module) to includes.txt in the build folder, one line a module:
#     NAME PLACE DEPENDS;DEPENDS...
# tools/lint-includes holds every #include against it.
get_property(rules GLOBAL PROPERTY VARVE_INCLUDE_RULES)
file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/includes.txt CONTENT "@rules@" @ONLY)
