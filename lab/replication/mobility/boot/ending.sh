#!/bin/sh
# Run by systemd at the very end of a shutdown. Ends the logs of all writes, and writes down that they are whole.
# Whatever is not as expected: no record, and the next boot compares the disks.
note=/run/recovery-mobility/ending
[ -r "$note" ] || exit 0
{ read -r change_log && read -r record; } < "$note"
rm -f "$note"

# Nobody may write after this.
while read -r device _ _ options _; do
	case "$device,$options," in
		/dev/*,rw,*) exit 0 ;;
	esac
done < /proc/mounts

# There is no udev any more that would answer.
export DM_DISABLE_UDEV=1
for word in ${record#recovery-mobility * }; do
	name=${word%=*}
	# One that nothing is mounted from is gone already, which ended its log.
	table=$(dmsetup table "$name" 2>/dev/null) || continue
	# shellcheck disable=SC2086
	set -- $table
	[ "$3" = log-writes ] || exit 0
	# A resume with another table ends the old one, and waits until its log is written out.
	dmsetup load "$name" --table "0 $2 linear $4 0" && dmsetup resume "$name" --noudevsync || exit 0
done
printf '%s\n' "$record" | dd of="$change_log" bs=4096 seek=1 count=1 conv=sync,notrunc,fsync 2>/dev/null
