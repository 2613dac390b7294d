/* The program in the payload: Python, told to look for modules in the folder beside it and nowhere else, and to run
 * heartc.__main__.main(). PyInstaller's own bootloader would do, but it starts itself twice, leaves variables in
 * the environment for every child to see, and imports modules through Python code of its own. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>
#include <unistd.h>

#define FOLDER "/_internal"
#define MODULES FOLDER "/modules.zip"

/* Python's status as the process's; does not return on an error. */
static void check(PyStatus status)
{
    if (PyStatus_Exception(status))
        Py_ExitStatusException(status);
}

static void add_path(PyConfig *config, const char *folder, const char *rest)
{
    char path[8192];
    wchar_t *wide;
    snprintf(path, sizeof path, "%s%s", folder, rest);
    wide = Py_DecodeLocale(path, NULL);
    if (!wide)
        check(PyStatus_NoMemory());
    check(PyWideStringList_Append(&config->module_search_paths, wide));
    PyMem_RawFree(wide);
}

/* Nothing of the environment, of the user's or the system's Python counts. Text is UTF-8, as the engine has it. */
static void start_python(const char *folder, int argc, char **argv)
{
    PyPreConfig before;
    PyConfig config;
    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1;
    check(Py_PreInitialize(&before));
    PyConfig_InitIsolatedConfig(&config);
    config.install_signal_handlers = 1;
    config.site_import = 0;
    config.write_bytecode = 0;
    config.optimization_level = 2;
    config.pathconfig_warnings = 0;
    config.module_search_paths_set = 1;
    add_path(&config, folder, MODULES);
    add_path(&config, folder, FOLDER);
    check(PyConfig_SetBytesArgv(&config, argc, argv));
    check(PyConfig_SetBytesString(&config, &config.program_name, argv[0]));
    check(PyConfig_SetBytesString(&config, &config.executable, argv[0]));
    check(PyConfig_SetBytesString(&config, &config.home, folder));
    check(Py_InitializeFromConfig(&config));
    PyConfig_Clear(&config);
}

static int run(void)
{
    PyObject *module, *result = NULL;
    PySys_SetObject("frozen", Py_True);
    module = PyImport_ImportModule("heartc.__main__");
    if (module)
        result = PyObject_CallMethod(module, "main", NULL);
    if (!result)
        PyErr_Print(); /* exits with the status of a SystemExit */
    Py_XDECREF(result);
    Py_XDECREF(module);
    return Py_FinalizeEx() < 0 || !result;
}

int main(int argc, char **argv)
{
    char folder[4096];
    ssize_t n = readlink("/proc/self/exe", folder, sizeof folder - 1);
    char *slash = NULL;
    if (n > 0) {
        folder[n] = 0;
        slash = strrchr(folder, '/');
    }
    if (!slash || argc < 1) {
        fputs("heart: cannot find its own files (/proc/self/exe)\n", stderr);
        return 127;
    }
    *slash = 0;
    start_python(folder, argc, argv);
    return run();
}
