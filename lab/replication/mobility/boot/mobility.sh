# Boot script of initramfs-tools (BOOT=mobility): puts every protected disk below dm-log-writes, then mounts the root
# file system as usual. Without a change-log disk (on a replica) the mappings are plain, so the names are the same.
# /mobility/disks: NAME SERIAL A_START A_SECTORS B_START; /mobility/change-log: SERIAL SPOOL_START SPOOL_SECTORS
# (sectors on the change-log disk).
# A record of an orderly end (../orderly_end.py) says which log areas were in use; the others are used now.

mobility_device()
{
	for mobility_block in /sys/block/*; do
		if [ "$(cat "$mobility_block/serial" 2>/dev/null)" = "$1" ]; then
			echo "/dev/${mobility_block##*/}"
			return 0
		fi
	done
	return 1
}

mobility_wait()
{
	mobility_tries=0
	until mobility_device "$1" >/dev/null || [ "$mobility_tries" -ge 50 ]; do
		sleep 0.2
		mobility_tries=$((mobility_tries + 1))
	done
	mobility_device "$1"
}

mobility_create()
{
	dmsetup create "$1" --noudevsync --table "$2"
}

# Names below /dev/mapper appear when udev gets round to it; numbers are there at once.
mobility_number()
{
	dmsetup info --columns --noheadings --separator : -o major,minor "$1"
}

mobility_partitions()
{
	for mobility_part in "/sys/block/${2##*/}/${2##*/}"*; do
		[ -e "$mobility_part/partition" ] || continue
		mobility_index=$(cat "$mobility_part/partition")
		mobility_create "$1$mobility_index" \
			"0 $(cat "$mobility_part/size") linear $(mobility_number "$1") $(cat "$mobility_part/start")"
		if [ "$mobility_root" = "/dev/${mobility_part##*/}" ]; then
			ROOT="/dev/mapper/$1$mobility_index"
		fi
	done
}

# Believed once, and not at all if it cannot be taken away: after a loss of power it must not be found again.
mobility_take_record()
{
	mobility_ended=$(dd if="$1" bs=4096 skip=1 count=1 2>/dev/null | tr -d '\000' | head -n 1)
	case "$mobility_ended" in
		"recovery-mobility "*) ;;
		*) mobility_ended= ;;
	esac
	if [ -n "$mobility_ended" ]; then
		dd if=/dev/zero of="$1" bs=4096 seek=1 count=1 conv=notrunc,fsync 2>/dev/null || mobility_ended=
	fi
	echo "$mobility_ended" > /run/recovery-mobility.ended
}

mobility_map_disk()
{
	mobility_disk=$(mobility_wait "$2") || return 0
	mobility_size=$(cat "/sys/block/${mobility_disk##*/}/size")
	if [ -n "$mobility_log" ]; then
		mobility_create "mobility-$1-log-a" "0 $4 linear $mobility_log $3"
		mobility_create "mobility-$1-log-b" "0 $4 linear $mobility_log $5"
		case " $mobility_ended " in
			*" mobility-$1=a "*) mobility_area=b ;;
			*) mobility_area=a ;;
		esac
		mobility_create "mobility-$1" \
			"0 $mobility_size log-writes $mobility_disk $(mobility_number "mobility-$1-log-$mobility_area")"
	else
		mobility_create "mobility-$1" "0 $mobility_size linear $mobility_disk 0"
	fi
	mobility_partitions "mobility-$1" "$mobility_disk"
}

mobility_map()
{
	modprobe dm-mod 2>/dev/null
	insmod /mobility/dm-log-writes.ko
	read -r mobility_log_serial mobility_spool_start mobility_spool_sectors < /mobility/change-log
	mobility_first=$(cut -d ' ' -f 2 /mobility/disks | head -n 1)
	mobility_wait "$mobility_first" >/dev/null
	mobility_log=$(mobility_device "$mobility_log_serial") || mobility_log=
	if [ -n "$mobility_log" ]; then
		mobility_take_record "$mobility_log"
		mobility_create mobility-spool "0 $mobility_spool_sectors linear $mobility_log $mobility_spool_start"
	fi
	resolve_device "$ROOT"
	mobility_root=$DEV
	while read -r mobility_line; do
		# shellcheck disable=SC2086
		mobility_map_disk $mobility_line
	done < /mobility/disks
	udevadm settle --timeout=30
	dmsetup mknodes
}

mountroot()
{
	local_top
	mobility_map
	local_mount_root
}
