"""``pooler job import``: command lines of rclone and lftp, and crontabs, as jobs and a connections file.

A text goes through these modules, all of them pure: `reading` gives its lines with their schedules, `shell`
the words of a line, `commands` the commands in it; `rclone` and `lftp` say what one of these copies
(`copying`), and `gathered` makes jobs, remotes and local folders of all of it. `command` reads and writes the
files.

What cannot be said in a job is never passed over: it is `Untranslated`, with why, or a note beside the jobs.
"""
