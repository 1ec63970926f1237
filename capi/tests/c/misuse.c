/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * On any Linux, C11 and C++17: what is wrong is refused, with a number and a reason, and
 * nothing else happens. The first argument is the command dm-restrict; with a second one
 * there is no audit, and no doctor: valgrind knows less of the kernel than these ask it.
 */
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *helper;
static int audits = 1;
/* A machine may have it or not. */
static const char *const without[] = {"cgroup", NULL};

static void versions(void) {
    CHECK(xr_abi_version() == XR_ABI_VERSION);
    CHECK(strchr(xr_version(), '.') != NULL);
    CHECK(strcmp(xr_error(), "") == 0);
}

static void handles_that_are_none(void) {
    int local = 0;
    every_function_refuses(EINVAL, NULL);
    every_function_refuses(EBADF, &local);
    every_function_refuses(EBADF, (void *)(uintptr_t)1);
    every_function_refuses(EBADF, (void *)UINTPTR_MAX);
    /* As one would be, of a place that was never used. */
    every_function_refuses(EBADF, (void *)(uintptr_t)0x5852123456789abcU);
    CHECK(xr_close(NULL) == 0);
    REFUSED(EBADF, xr_close(&local));
}

static void arguments_that_are_none(void) {
    struct xr_privcmd *privcmd = (struct xr_privcmd *)(uintptr_t)1;
    struct xr_evtchn *evtchn;
    char *json;
    REFUSED(EINVAL, xr_privcmd_open(NULL));
    REFUSED(EINVAL, xr_evtchn_open(NULL));
    REFUSED(EINVAL, xr_gntdev_open(NULL));
    REFUSED(EINVAL, xr_gntalloc_open(NULL));
    REFUSED(EINVAL, xr_restrict_all(0));
    REFUSED(EINVAL, xr_restrict_all(0x7ff0));
    REFUSED(EINVAL, xr_identity(7, NULL, NULL));
    REFUSED(EINVAL, xr_handover_receive(NULL));
    REFUSED(EINVAL, xr_handover_fd(NULL));
    REFUSED(ENOENT, xr_handover_fd("log"));
    REFUSED(EINVAL, xr_list(NULL));
    REFUSED(EINVAL, xr_doctor(NULL));
    REFUSED(EINVAL, xr_audit(NULL, &json));
    REFUSED(EINVAL, xr_reap(0));
    REFUSED(EINVAL, xr_program_seal(0, NULL));
    REFUSED(EBADF, xr_privcmd_adopt(-1, 7, &privcmd));
    REFUSED(EBADF, xr_evtchn_adopt(999, 7, &evtchn));

    /* A descriptor of something else is closed. */
    int null = open("/dev/null", O_RDWR);
    CHECK(null >= 0);
    REFUSED(ENOTTY, xr_privcmd_adopt(null, 7, &privcmd));
    CHECK(privcmd == NULL);
    CHECK(fcntl(null, F_GETFD) == -1 && errno == EBADF);

    /* This machine is not Xen: see on_xen.c. */
    privcmd = (struct xr_privcmd *)(uintptr_t)1;
    CHECK(xr_privcmd_open(&privcmd) < 0 && privcmd == NULL);
}

static void structures_of_other_versions(void) {
    struct {
        struct xr_audit_options known;
        uint64_t later;
    } options;
    char *json;
    memset(&options, 0, sizeof options);
    options.known.pid = 0x7fffffff;
    REFUSED(EINVAL, xr_audit(&options.known, &json));
    options.known.size = sizeof options.known - 1;
    REFUSED(EINVAL, xr_audit(&options.known, &json));
    options.known.size = SIZE_MAX;
    REFUSED(EINVAL, xr_audit(&options.known, &json));
    options.known.size = sizeof options;
    if (audits)
        REFUSED(ESRCH, xr_audit(&options.known, &json));
    options.later = 1;
    REFUSED(E2BIG, xr_audit(&options.known, &json));
    CHECK(json == NULL);
}

static void seals_that_make_no_sense(void) {
    const char *const none[] = {"no-such", NULL};
    struct xr_seal_options options;
    memset(&options, 0, sizeof options);
    REFUSED(EINVAL, xr_seal(&options));
    options.size = sizeof options;
    options.flags = 2;
    REFUSED(EINVAL, xr_seal(&options));
    options.flags = XR_SEAL_MAPPING;
    options.without = none;
    REFUSED(EINVAL, xr_seal(&options));
}

static struct xr_launch_options shell(const char *const *arguments) {
    struct xr_launch_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.flags = XR_LAUNCH_LINKED;
    options.user = "games";
    options.helper = helper;
    options.without = without;
    options.program = "sh";
    options.arguments = arguments;
    return options;
}

static struct xr_program *start(const char *name, const char *script) {
    const char *arguments[] = {"-c", script, NULL};
    struct xr_launch_options options = shell(arguments);
    struct xr_program *program;
    char instance[40];
    snprintf(instance, sizeof instance, "%s-%d", name, (int)getpid());
    options.instance = instance;
    CHECK(xr_launch(&options, &program) == 0);
    return program;
}

static void launches_that_make_no_sense(void) {
    const char *const arguments[] = {"-c", "exit 0", NULL}, *const none[] = {"no-such", NULL};
    struct xr_launch_options good = shell(arguments), bad;
    struct xr_named_fd fds[1] = {{"a:b", 0, 0}};
    struct xr_program *program;
    REFUSED(EINVAL, xr_launch(NULL, &program));
    CHECK(program == NULL);
#define BAD(number, field, value)                                                            \
    bad = good;                                                                              \
    bad.field = value;                                                                       \
    REFUSED(number, xr_launch(&bad, &program))
    BAD(EINVAL, size, 0);
    BAD(EINVAL, size, 100000);
    BAD(EINVAL, program, NULL);
    BAD(EINVAL, program, "");
    BAD(ENOENT, program, "/no/such/program");
    BAD(EINVAL, domid, 0x7ff0);
    BAD(EINVAL, domid, 0x10007);
    BAD(EINVAL, devices, 8);
    BAD(EINVAL, devices, XR_XEN_PRIVCMD);
    BAD(EINVAL, flags, 0x100);
    BAD(EINVAL, grant_quota, 1);
    BAD(EINVAL, profile, "lenient");
    BAD(EINVAL, without, none);
    BAD(EINVAL, require, none);
    BAD(EINVAL, limits, none);
    BAD(EINVAL, cgroup_limits, none);
    BAD(EINVAL, instance, "a/b");
    BAD(EINVAL, seal_after, -2);
    BAD(EINVAL, fd_count, 1);
    BAD(EINVAL, fd_count, SIZE_MAX);
    BAD(ENOEXEC, helper, "/no/such/helper");
    bad.fd_count = 1;
    bad.helper = helper;
    bad.fds = fds;
    REFUSED(EINVAL, xr_launch(&bad, &program));
    CHECK(program == NULL);
    fds[0].name = "ab";
    fds[0].reserved = 1;
    REFUSED(EINVAL, xr_launch(&bad, &program));
    CHECK(strstr(xr_error(), "reserved") != NULL);
}

static void a_program_ends(void) {
    struct xr_ended ended;
    struct xr_program *program = start("ends", "exit 7");
    CHECK(xr_program_wait(program, 1, &ended) == 1);
    CHECK(ended.status == 7 && ended.signal == 0);
    CHECK(xr_program_wait(program, 0, &ended) == 1 && ended.status == 7);
    REFUSED(ESRCH, xr_program_signal(program, SIGTERM));
    /* Of another kind, and closed. */
    REFUSED(EBADF, xr_privcmd_fd((struct xr_privcmd *)program));
    CHECK(strstr(xr_error(), "xr_privcmd") != NULL);
    CHECK(xr_close(program) == 0);
    REFUSED(EBADF, xr_close(program));
    every_function_refuses(EBADF, program);
}

static void *wait_for(void *program) {
    struct xr_ended ended;
    CHECK(xr_program_wait((struct xr_program *)program, 1, &ended) == 1);
    CHECK(ended.signal == 0 ? ended.status == 128 + SIGTERM : ended.signal == SIGTERM);
    return NULL;
}

/* While threads wait, others signal it, look, and close its handle. */
static void a_program_is_signalled(void) {
    struct xr_program *program = start("signalled", "while :; do :; done");
    struct xr_ended ended;
    pthread_t threads[2];
    CHECK(xr_program_pid(program) > 1 && xr_program_supervisor_pid(program) > 1);
    CHECK(xr_program_wait(program, 0, &ended) == 0);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, wait_for, program) == 0);

    /* A child has the handle's number, and not what it stands for. */
    pid_t child = fork();
    if (child == 0) {
        CHECK(xr_program_pid(program) == -ECHILD);
        CHECK(xr_program_signal(program, SIGKILL) == -ECHILD);
        CHECK(xr_close(program) == 0);
        CHECK(xr_close(program) == -EBADF);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);

    usleep(100000);
    CHECK(xr_program_signal(program, SIGTERM) == 0);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(xr_close(program) == 0);
}

struct wait {
    struct xr_program *program;
    int returned;
};

static void *waits_and_is_cancelled(void *context) {
    struct wait *wait = (struct wait *)context;
    struct xr_ended ended;
    wait->returned = xr_program_wait(wait->program, 1, &ended);
    pthread_testcancel();
    CHECK(!"a thread that was cancelled goes on");
    return NULL;
}

static void *keeps_its_state(void *program) {
    struct xr_ended ended;
    int old;
    CHECK(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old) == 0);
    CHECK(old == PTHREAD_CANCEL_ENABLE);
    CHECK(pthread_cancel(pthread_self()) == 0);
    CHECK(xr_program_wait((struct xr_program *)program, 0, &ended) >= 0);
    CHECK(xr_program_wait((struct xr_program *)program, 2, NULL) == -EINVAL);
    pthread_testcancel();
    CHECK(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old) == 0);
    CHECK(old == PTHREAD_CANCEL_DISABLE);
    return NULL;
}

/* The call it is in goes on to its end; then the thread ends. */
static void a_thread_is_cancelled(void) {
    struct xr_program *program = start("cancelled", "while :; do :; done");
    struct wait wait = {program, 0};
    pthread_t thread, other;
    void *result;
    CHECK(pthread_create(&thread, NULL, waits_and_is_cancelled, &wait) == 0);
    usleep(100000);
    CHECK(pthread_cancel(thread) == 0);
    CHECK(pthread_create(&other, NULL, keeps_its_state, program) == 0);
    CHECK(pthread_join(other, &result) == 0 && result == NULL);
    CHECK(xr_program_signal(program, SIGKILL) == 0);
    CHECK(pthread_join(thread, &result) == 0 && result == PTHREAD_CANCELED);
    CHECK(wait.returned == 1);
    CHECK(xr_close(program) == 0);
}

/* A process that rests, and is not confined at all. */
static void an_audit(void) {
    struct xr_audit_options options;
    char *json = NULL;
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.pid = child;
    if (audits) {
        CHECK(xr_audit(&options, NULL) == XR_FAILS);
        CHECK(xr_audit(&options, &json) == XR_FAILS);
        CHECK(strstr(json, "\"verdict\": \"fails\"") != NULL);
        CHECK(strstr(json, "no-new-privs") != NULL);
        free(json);
    }
    options.profile = "lenient";
    REFUSED(EINVAL, xr_audit(&options, &json));
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
}

static void reports(void) {
    struct xr_identity_info identity;
    char *json;

    struct xr_program *program = start("listed", "while :; do :; done");
    struct xr_ended ended;
    CHECK(xr_list(&json) >= 1);
    CHECK(strstr(json, "\"instance\": \"listed-") != NULL);
    free(json);
    CHECK(xr_program_signal(program, SIGKILL) == 0);
    CHECK(xr_program_wait(program, 1, &ended) == 1 && ended.signal == SIGKILL);
    CHECK(xr_close(program) == 0);

    if (audits) {
        CHECK(xr_doctor(&json) == 0 && strstr(json, "\"items\"") != NULL);
        free(json);
    }
    CHECK(xr_identity(7, "games", &identity) == 0);
    CHECK(identity.uid > 0 && identity.rule == XR_RULE_EXPLICIT && identity.exclusive == 0);
    REFUSED(ENOENT, xr_identity(7, "no-such-user", &identity));
    REFUSED(ENOENT, xr_identity(7, "root", &identity));
}

static void *errors_of_a_thread(void *unused) {
    CHECK(strcmp(xr_error(), "") == 0);
    REFUSED(EINVAL, xr_restrict_all(0));
    return unused;
}

static void errors_are_a_threads_own(void) {
    pthread_t thread;
    REFUSED(ENOENT, xr_handover_fd("of-the-main-thread"));
    const char *mine = xr_error();
    CHECK(pthread_create(&thread, NULL, errors_of_a_thread, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(strstr(mine, "of-the-main-thread") != NULL);
}

int main(int argc, char **argv) {
    CHECK(argc >= 2);
    helper = argv[1];
    audits = argc == 2;
    versions();
    handles_that_are_none();
    arguments_that_are_none();
    structures_of_other_versions();
    seals_that_make_no_sense();
    launches_that_make_no_sense();
    a_program_ends();
    a_program_is_signalled();
    a_thread_is_cancelled();
    an_audit();
    reports();
    errors_are_a_threads_own();
    puts("all refused");
    return 0;
}
