/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Which group a process belongs to, and which folders are trusted. Users, namespaces and links are
 * real ones, in children; what needs root, or namespaces, is skipped where there is neither.
 * GROUP_BASE_DIR is base/ in a folder of the test's own.
 */
#include "unit.h"
#include "group/group.h"
#include "test_config_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SOMEBODY 12345 /* a user without any name */
#define ANOTHER  12346

static struct group_identity group;
static struct group_reason reason;

static int make_base(void **state)
{
	if (tree_make(state) != 0 || chdir(tree_path("")) != 0 || mkdir("base", 0700) != 0)
		return -1;
	umask(022);
	return chmod("base", 01777);
}

/* The result of `action`, 0 to 255, in a child as this user. */
static int in_child(uid_t user, int (*action)(void))
{
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		if (user != geteuid() && (setgid(user) != 0 || setuid(user) != 0))
			_exit(255);
		_exit(action());
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* What a process in a PID namespace of its own finds. It stays there until it is let go, so that
 * its namespace is still there when the next one is made. */
struct container {
	enum { STARTING, DENIED, SEEN, LET_GO } _Atomic state;
	struct group_identity group;
} * containers;

/* What root has left in base/cuslice-0 before a worker of another user looks. */
static const struct root_folder {
	uid_t owner;
	mode_t mode;
	bool has_file, is_trusted;
} * root_folder;

static void make_root_folder(void)
{
	struct group_identity of_root;

	TREE_READ("X=");
	group_find(&config, &of_root);
	/* A namespace may bear the number of the one before, which had a file of that name. */
	unlink(of_root.path);
	if ((mkdir(of_root.folder, 0700) != 0 && errno != EEXIST) ||
		(root_folder->has_file && close(creat(of_root.path, 0666)) != 0) ||
		chown(of_root.folder, root_folder->owner, 0) != 0 ||
		chmod(of_root.folder, root_folder->mode) != 0)
		_exit(254);
}

static void be_container(struct container *me, uid_t user)
{
	if (root_folder != NULL)
		make_root_folder();
	if (user != geteuid() && setuid(user) != 0)
		_exit(255);
	TREE_READ("X=");
	group_find(&config, &me->group);
	me->state = SEEN;
	while (me->state != LET_GO)
		usleep(1000);
	_exit(0);
}

static pid_t start_container(struct container *container, uid_t user)
{
	container->state = STARTING;
	pid_t child = fork();
	if (child != 0)
		return child;
	if (unshare(CLONE_NEWPID) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWPID) != 0) {
		container->state = DENIED;
		_exit(0);
	}
	pid_t grandchild = fork();
	if (grandchild == 0)
		be_container(container, user);
	waitpid(grandchild, NULL, 0);
	if (container->state == STARTING)
		container->state = DENIED;
	_exit(0);
}

static void wait_for(struct container *container)
{
	while (container->state == STARTING)
		usleep(1000);
}

/* Starts `count` side by side, and ends them. Skips the test where there are no namespaces. */
static void see_containers(unsigned count, uid_t user)
{
	bool are_seen = true;
	pid_t children[2];

	for (unsigned i = 0; i < count; i++) {
		children[i] = start_container(&containers[i], user);
		wait_for(&containers[i]);
	}
	for (unsigned i = 0; i < count; i++) {
		are_seen &= containers[i].state == SEEN;
		containers[i].state = LET_GO;
		assert_int_equal(waitpid(children[i], NULL, 0), children[i]);
	}
	if (!are_seen)
		skip();
}

static void read_group(const char *text)
{
	char variable[16 + GROUP_PATH_LEN];

	snprintf(variable, sizeof(variable), "CUSLICE_GROUP=%s", text);
	TREE_READ(variable);
	assert_int_equal(config.problem_count, 0);
	group_find(&config, &group);
}

static bool is_prepared(void)
{
	*reason.text = '\0';
	errno = 7;
	bool is_good = group_prepare(&group, &reason);
	assert_int_equal(errno, 7);
	assert_true(is_good == (*reason.text == '\0'));
	return is_good;
}

static void assert_reason(const char *part)
{
	if (strstr(reason.text, part) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", reason.text, part);
}

static void assert_mode(const char *path, unsigned mode)
{
	struct stat info;

	assert_int_equal(lstat(path, &info), 0);
	assert_int_equal(info.st_mode & 07777, mode);
}

static const char *own_folder(void)
{
	static char folder[64];

	snprintf(folder, sizeof(folder), "base/cuslice-%u", (unsigned)geteuid());
	return folder;
}

static char *plain(void)
{
	static char variable[700];

	snprintf(variable, sizeof(variable), "CUSLICE_CONFIG=%s", tree_path("plain.ini"));
	return variable;
}

/* Who leaves a group, or joins another, has a quota more. */
static void group_of_the_policy_comes_first(void **state)
{
	(void)state;
	tree_write("plain.ini", "[slice]\ngroup = plain\n");
	TREE_READ(plain());
	assert_string_equal(config_chosen(&config, CONFIG_GROUP)->text, "plain");
	TREE_READ(plain(), "CUSLICE_GROUP=variable");
	assert_string_equal(config_chosen(&config, CONFIG_GROUP)->text, "variable");
	tree_write("policy/b.ini", "[slice]\ngroup = second\n");
	tree_write("policy/a.ini", "[slice]\ngroup = first\n");
	TREE_READ(plain(), "CUSLICE_GROUP=none");
	assert_string_equal(config_chosen(&config, CONFIG_GROUP)->text, "first");
}

/* Whether what cannot be had is excused: each source by its own word, the policy by no other's. */
static void refusal_is_the_word_of_the_source(void **state)
{
	(void)state;
	TREE_READ("CUSLICE_ON_ERROR=warn");
	assert_false(config_refuses(&config, CONFIG_ENVIRONMENT));
	assert_true(config_refuses(&config, CONFIG_POLICY));
	tree_write("policy/a.ini", "[slice]\non_error = warn\n");
	TREE_READ(NULL);
	assert_false(config_refuses(&config, CONFIG_ENVIRONMENT));
	assert_false(config_refuses(&config, CONFIG_POLICY));
	TREE_READ("CUSLICE_ON_ERROR=refuse");
	assert_true(config_refuses(&config, CONFIG_ENVIRONMENT));
	assert_false(config_refuses(&config, CONFIG_POLICY));
}

static void none_is_no_group(void **state)
{
	(void)state;
	read_group("none");
	assert_int_equal(group.kind, GROUP_NONE);
	assert_string_equal(group.key, "");
	assert_ptr_equal(group.setting, config_chosen(&config, CONFIG_GROUP));
}

static void disabled_is_no_group(void **state)
{
	(void)state;
	TREE_READ("CUSLICE_GROUP=train", "CUSLICE_DISABLE=1");
	group_find(&config, &group);
	assert_int_equal(group.kind, GROUP_NONE);
}

static void name_lies_in_the_folder_of_the_user(void **state)
{
	char path[100];

	(void)state;
	read_group("train");
	assert_int_equal(group.kind, GROUP_BY_NAME);
	assert_string_equal(group.key, "train");
	assert_string_equal(group.folder, own_folder());
	snprintf(path, sizeof(path), "%s/train.group", own_folder());
	assert_string_equal(group.path, path);
}

static void paths_are_of_folders_and_files(void **state)
{
	static const struct {
		const char *text, *folder, *path, *key;
	} rows[] = {
		{"/run/g", "/run/g", "/run/g/cuslice.group", "cuslice"},
		{"/run/g/", "/run/g", "/run/g/cuslice.group", "cuslice"},
		{"/run/g//", "/run/g", "/run/g/cuslice.group", "cuslice"},
		{"/run/.group", "/run/.group", "/run/.group/cuslice.group", "cuslice"},
		{"/run/g/train.group", "/run/g", "/run/g/train.group", "train"},
		{"/train.group", "/", "//train.group", "train"},
		{"/", "/", "//cuslice.group", "cuslice"},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		read_group(rows[i].text);
		assert_int_equal(group.kind, GROUP_BY_PATH);
		assert_string_equal(group.folder, rows[i].folder);
		assert_string_equal(group.path, rows[i].path);
		assert_string_equal(group.key, rows[i].key);
	}
}

/* What `cuslice run` hands on finds the same file as the name does. */
static void path_of_a_name_is_the_same_file(void **state)
{
	char path[GROUP_PATH_LEN];

	(void)state;
	group_by_text("train", &group);
	snprintf(path, sizeof(path), "%s", tree_path(group.path));
	read_group(path);
	assert_string_equal(group.path, path);
	assert_string_equal(group.key, "train");
}

static void longest_path_is_whole(void **state)
{
	char path[CONFIG_TEXT_LEN];

	(void)state;
	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	read_group(path);
	assert_string_equal(group.folder, path);
	assert_string_equal(group.path + strlen(path), "/cuslice.group");
}

static void folder_is_made_for_the_user_alone(void **state)
{
	mode_t mode = geteuid() == 0 ? 0711 : 0700;

	(void)state;
	read_group("train");
	assert_true(is_prepared());
	assert_mode(own_folder(), mode);
	assert_true(is_prepared());
	assert_mode(own_folder(), mode);
}

static void folder_has_its_mode_under_any_umask(void **state)
{
	mode_t mode = geteuid() == 0 ? 0711 : 0700;

	(void)state;
	read_group("train");
	umask(0777);
	bool is_good = is_prepared();
	umask(022);
	assert_true(is_good);
	assert_mode(own_folder(), mode);
	/* One that was left half made. */
	assert_int_equal(chmod(own_folder(), 0600), 0);
	assert_true(is_prepared());
	assert_mode(own_folder(), mode);
}

static void folder_of_a_path_is_not_made_and_keeps_its_mode(void **state)
{
	(void)state;
	read_group(tree_path("mounted"));
	assert_false(is_prepared());
	assert_reason("mounted: No such file");
	assert_int_equal(mkdir("mounted", 0755), 0);
	assert_true(is_prepared());
	assert_mode("mounted", 0755);
}

static void missing_base_is_a_reason(void **state)
{
	(void)state;
	assert_int_equal(rmdir("base"), 0);
	read_group("train");
	assert_false(is_prepared());
	assert_reason("cannot make base/cuslice-");
}

static void link_is_no_folder(void **state)
{
	(void)state;
	assert_int_equal(mkdir("elsewhere", 0700), 0);
	assert_int_equal(symlink("../elsewhere", own_folder()), 0);
	read_group("train");
	assert_false(is_prepared());
	assert_reason("links are not followed");
	assert_mode("elsewhere", 0700);
	assert_int_equal(symlink("elsewhere", "link"), 0);
	read_group(tree_path("link/"));
	assert_false(is_prepared());
	assert_reason("links are not followed");
}

static void file_is_no_folder(void **state)
{
	(void)state;
	tree_write(own_folder(), "");
	read_group("train");
	assert_false(is_prepared());
	assert_reason("no directory");
}

static void folder_that_others_may_write_to_is_not_trusted(void **state)
{
	static const mode_t modes[] = {0777, 01777, 0770, 0702, 02775};
	char said[20];

	(void)state;
	assert_int_equal(mkdir(own_folder(), 0700), 0);
	assert_int_equal(mkdir("mounted", 0700), 0);
	for (unsigned i = 0; i < ARRAY_LEN(modes); i++) {
		snprintf(said, sizeof(said), "mode %04o", modes[i]);
		assert_int_equal(chmod(own_folder(), modes[i]), 0);
		read_group("train");
		assert_false(is_prepared());
		assert_reason(own_folder());
		assert_reason(said);
		assert_reason("chmod go-w");
		assert_mode(own_folder(), modes[i]);
		assert_int_equal(chmod("mounted", modes[i]), 0);
		read_group(tree_path("mounted"));
		assert_false(is_prepared());
		assert_reason(said);
	}
}

static void skip_without_root(void)
{
	if (geteuid() != 0)
		skip();
}

static void folder_of_somebody_else_is_not_trusted(void **state)
{
	(void)state;
	skip_without_root();
	assert_int_equal(mkdir("base/cuslice-0", 0700), 0);
	assert_int_equal(chown("base/cuslice-0", SOMEBODY, 0), 0);
	read_group("train");
	assert_false(is_prepared());
	assert_reason("base/cuslice-0 belongs to user 12345 (mode 0700), not to root or to user 0");
	read_group(tree_path("base/cuslice-0"));
	assert_false(is_prepared());
	/* Nobody is nobody where no user namespace makes others look like it. */
	assert_int_equal(chown("base/cuslice-0", 65534, 0), 0);
	assert_false(is_prepared());
}

static int prepare_here(void)
{
	group_by_text("train", &group);
	return group_prepare(&group, &reason) ? 0 : 1;
}

static int prepare_mounted(void)
{
	return group_prepare(&group, &reason) ? 0 : 1;
}

static void users_have_folders_of_their_own(void **state)
{
	(void)state;
	skip_without_root();
	assert_int_equal(in_child(SOMEBODY, prepare_here), 0);
	assert_mode("base/cuslice-12345", 0700);
	/* What another has put in one's place. */
	assert_int_equal(rename("base/cuslice-12345", "base/cuslice-12346"), 0);
	assert_int_equal(in_child(ANOTHER, prepare_here), 1);
	/* What root has made for a user. */
	assert_int_equal(mkdir("base/cuslice-12345", 0755), 0);
	assert_int_equal(in_child(SOMEBODY, prepare_here), 0);
	assert_mode("base/cuslice-12345", 0755);
}

/* A worker that has dropped root gets to what `cuslice run` has named. */
static void worker_of_root_gets_through(void **state)
{
	(void)state;
	skip_without_root();
	read_group("train");
	assert_true(is_prepared());
	tree_write(group.path, "");
	char path[GROUP_PATH_LEN];
	snprintf(path, sizeof(path), "%s", tree_path(group.path));
	read_group(path);
	assert_int_equal(in_child(SOMEBODY, prepare_mounted), 0);
}

static void process_without_a_namespace_of_its_own_is_alone(void **state)
{
	struct stat info;

	(void)state;
	assert_int_equal(stat("/proc/self/ns/pid", &info), 0);
	TREE_READ("X=");
	group_find(&config, &group);
	/* These tests may themselves run in a container. */
	assert_int_equal(group.kind, info.st_ino == 0xeffffffc ? GROUP_NONE : GROUP_OF_CONTAINER);
	assert_null(group.setting);
}

static void containers_have_keys_of_their_own(void **state)
{
	unsigned long long device, inode;

	(void)state;
	see_containers(2, geteuid());
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(containers[i].group.kind, GROUP_OF_CONTAINER);
		assert_int_equal(
			sscanf(containers[i].group.key, "pidns-%llx-%llu", &device, &inode), 2);
		assert_null(containers[i].group.setting);
	}
	assert_string_not_equal(containers[0].group.key, containers[1].group.key);
}

static void setting_comes_before_the_container(void **state)
{
	(void)state;
	read_group("train");
	struct group_identity alone = group;
	see_containers(1, geteuid());
	assert_string_not_equal(containers[0].group.key, alone.key);
}

/* A worker that changed its user spends with root where root came first; a folder that is not
 * root's own does not count. */
static void worker_in_a_container_spends_with_root(void **state)
{
	static const struct root_folder rows[] = {
		{0, 0711, true, true},
		{0, 0711, false, false},
		{0, 0733, true, false},
		{ANOTHER, 0711, true, false},
	};

	(void)state;
	skip_without_root();
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		root_folder = &rows[i];
		see_containers(1, SOMEBODY);
		root_folder = NULL;
		assert_int_equal(containers[0].group.kind, GROUP_OF_CONTAINER);
		assert_string_equal(containers[0].group.folder,
			rows[i].is_trusted ? "base/cuslice-0" : "base/cuslice-12345");
	}
}

/* 0 where both folders are judged right, 1 and 2 for the one that is not, 77 without namespaces. */
static int prepare_in_user_namespace(void)
{
	static const char map[] = "0 12345 1\n";

	/* Whoever changes its user loses its own /proc. */
	if (prctl(PR_SET_DUMPABLE, 1) != 0 || unshare(CLONE_NEWUSER) != 0)
		return 77;
	int fd = open("/proc/self/uid_map", O_WRONLY);
	if (fd < 0 || write(fd, map, strlen(map)) != (ssize_t)strlen(map))
		return 77;
	if (!group_prepare(&group, &reason))
		return 1;
	group_by_text("train", &group);
	return group_prepare(&group, &reason) ? 2 : 0;
}

/* What the machine's root has mounted into a user namespace belongs to nobody there. */
static void mounted_folder_from_outside_is_trusted(void **state)
{
	(void)state;
	skip_without_root();
	assert_int_equal(mkdir("mounted", 0755), 0);
	assert_int_equal(mkdir("base/cuslice-0", 0755), 0);
	read_group(tree_path("mounted"));
	int status = in_child(SOMEBODY, prepare_in_user_namespace);
	if (status == 77)
		skip();
	assert_int_equal(status, 0);
	assert_int_equal(chmod("mounted", 0777), 0);
	read_group(tree_path("mounted"));
	assert_int_equal(in_child(SOMEBODY, prepare_in_user_namespace), 1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_base, tree_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(group_of_the_policy_comes_first),
		CASE(refusal_is_the_word_of_the_source),
		CASE(none_is_no_group),
		CASE(disabled_is_no_group),
		CASE(name_lies_in_the_folder_of_the_user),
		CASE(paths_are_of_folders_and_files),
		CASE(path_of_a_name_is_the_same_file),
		CASE(longest_path_is_whole),
		CASE(folder_is_made_for_the_user_alone),
		CASE(folder_has_its_mode_under_any_umask),
		CASE(folder_of_a_path_is_not_made_and_keeps_its_mode),
		CASE(missing_base_is_a_reason),
		CASE(link_is_no_folder),
		CASE(file_is_no_folder),
		CASE(folder_that_others_may_write_to_is_not_trusted),
		CASE(folder_of_somebody_else_is_not_trusted),
		CASE(users_have_folders_of_their_own),
		CASE(worker_of_root_gets_through),
		CASE(process_without_a_namespace_of_its_own_is_alone),
		CASE(containers_have_keys_of_their_own),
		CASE(setting_comes_before_the_container),
		CASE(worker_in_a_container_spends_with_root),
		CASE(mounted_folder_from_outside_is_trusted),
	};

	containers = mmap(NULL, 2 * sizeof(*containers), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (containers == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
