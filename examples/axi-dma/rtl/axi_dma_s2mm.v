// Stream to memory: moves the bytes of the stream to where they belong in words of memory, gathers them in a FIFO, and
// writes a burst when all its data is there, so that a burst that was begun always ends, whatever the stream does.
//
//      stream -> taken -> filling -> FIFO ----> W
//                            '-----> bursts --> AW
module axi_dma_s2mm (
    input  wire        clk,
    input  wire        rst_n,

    // Without scatter-gather a packet has to end within its job.
    input  wire        scatter_gather,
    input  wire        job_start,
    input  wire [63:0] job_address,
    input  wire [25:0] job_length,
    input  wire        abort,
    output wire        busy,
    output reg         job_done,
    output wire [25:0] job_moved,
    output wire [1:0]  job_error,
    output reg         job_ended,
    output reg         job_began,

    output wire [63:0] m_axi_awaddr,
    output wire [7:0]  m_axi_awlen,
    output wire [2:0]  m_axi_awsize,
    output wire [1:0]  m_axi_awburst,
    output wire        m_axi_awvalid,
    input  wire        m_axi_awready,
    output wire [63:0] m_axi_wdata,
    output wire [7:0]  m_axi_wstrb,
    output wire        m_axi_wlast,
    output wire        m_axi_wvalid,
    input  wire        m_axi_wready,
    input  wire [1:0]  m_axi_bresp,
    input  wire        m_axi_bvalid,
    output wire        m_axi_bready,

    input  wire [63:0] s_axis_tdata,
    input  wire [7:0]  s_axis_tkeep,
    input  wire        s_axis_tlast,
    input  wire        s_axis_tvalid,
    output wire        s_axis_tready
);

  // ------------------------------------------------------------------------------------------------ stream
  // What was taken of the stream and is not moved yet.
  reg  [63:0] taken;
  reg  [3:0]  taken_count;
  reg         taken_last, taken_valid;
  // The next byte is the first of a packet.
  reg         fresh;

  reg         active, input_done;
  reg  [1:0]  error;
  reg  [25:0] left, moved;
  reg  [63:0] at;

  // The word of memory that is being filled, and the burst that it belongs to.
  reg  [63:0] word;
  reg  [7:0]  strobe;
  reg  [63:0] burst_address;
  reg  [8:0]  burst_words;

  wire        stopping = abort || error != 2'd0;
  wire        fifo_room, burst_room;
  wire [2:0]  lane = at[2:0];
  wire [3:0]  lanes = 4'd8 - {1'b0, lane};
  wire [3:0]  fits = left < {22'd0, lanes} ? left[3:0] : lanes;
  wire [3:0]  count = taken_count < fits ? taken_count : fits;
  wire        move = active && !input_done && !stopping && taken_valid && fifo_room && burst_room;

  wire        beat_empty = count == taken_count;
  wire        packet_ends = beat_empty && taken_last;
  wire        job_full = left == {22'd0, count};
  wire        word_full = {1'b0, lane} + count == 4'd8;
  wire        ends = packet_ends || job_full;

  wire [63:0] in_place = (taken & keepBytes(count)) << {lane, 3'd0};
  wire [7:0]  strobes = keepStrobes(count) << lane;
  wire [63:0] new_word = word | in_place;
  wire [7:0]  new_strobe = strobe | strobes;
  // A word goes to the FIFO when it is full or the job is over; an empty end leaves nothing to write.
  wire        push = move && (word_full || ends) && new_strobe != 8'd0;
  // The burst is complete: at its longest, at a multiple of 4,096, or at the end of the job.
  wire [63:0] after = at + {60'd0, count};
  wire        commit = move && ((push && (burst_words == 9'd255 || (word_full && after[11:0] == 12'd0))) || ends)
      && (push || burst_words != 9'd0);
  wire [8:0]  commit_words = burst_words + {8'd0, push};

  assign s_axis_tready = rst_n && (!taken_valid || (move && beat_empty));

  // ------------------------------------------------------------------------------------------------ memory
  reg  [71:0] fifo [0:511];
  reg  [9:0]  fifo_write, fifo_read, fifo_committed;
  wire [9:0]  fifo_used = fifo_write - fifo_read;
  assign fifo_room = fifo_used < 10'd511;

  reg  [72:0] queue [0:7];
  reg  [3:0]  queue_write, queue_address, queue_data;
  wire [3:0]  queue_used = queue_write - queue_data;
  assign burst_room = queue_used < 4'd8;

  reg  [3:0]  unanswered;
  reg  [8:0]  beat;

  wire [72:0] to_address = queue[queue_address[2:0]];
  wire [72:0] to_write = queue[queue_data[2:0]];
  assign m_axi_awaddr = to_address[72:9];
  assign m_axi_awlen = to_address[7:0] - 8'd1;
  assign m_axi_awsize = 3'd3;
  assign m_axi_awburst = 2'b01;
  assign m_axi_awvalid = queue_address != queue_write && unanswered < 4'd8;
  wire        addressed = m_axi_awvalid && m_axi_awready;

  // Data follows its address.
  assign m_axi_wvalid = queue_data != queue_address;
  assign m_axi_wdata = fifo[fifo_read[8:0]][63:0];
  assign m_axi_wstrb = fifo[fifo_read[8:0]][71:64];
  assign m_axi_wlast = beat + 9'd1 == to_write[8:0];
  wire        written = m_axi_wvalid && m_axi_wready;
  assign m_axi_bready = 1'b1;

  assign busy = active || unanswered != 4'd0 || queue_data != queue_write;
  assign job_moved = moved;
  assign job_error = error;

  wire        finished = active && (input_done || stopping) && queue_data == queue_write && unanswered == 4'd0;

  always @(posedge clk) begin
    job_done <= 1'b0;
    if (!rst_n) begin
      taken_valid <= 1'b0;
      fresh <= 1'b1;
      active <= 1'b0;
      input_done <= 1'b0;
      error <= 2'd0;
      fifo_write <= 10'd0;
      fifo_read <= 10'd0;
      fifo_committed <= 10'd0;
      queue_write <= 4'd0;
      queue_address <= 4'd0;
      queue_data <= 4'd0;
      unanswered <= 4'd0;
      beat <= 9'd0;
    end else begin
      if (s_axis_tvalid && s_axis_tready) begin
        taken <= s_axis_tdata;
        taken_count <= countKeep(s_axis_tkeep);
        taken_last <= s_axis_tlast;
        taken_valid <= 1'b1;
      end else if (move && beat_empty) taken_valid <= 1'b0;

      if (job_start) begin
        active <= 1'b1;
        input_done <= 1'b0;
        error <= 2'd0;
        left <= job_length;
        moved <= 26'd0;
        at <= job_address;
        burst_address <= job_address;
        burst_words <= 9'd0;
        word <= 64'd0;
        strobe <= 8'd0;
        job_ended <= 1'b0;
        job_began <= fresh;
      end

      if (move) begin
        if (!beat_empty) begin
          taken <= taken >> {count, 3'd0};
          taken_count <= taken_count - count;
        end
        left <= left - {22'd0, count};
        moved <= moved + {22'd0, count};
        at <= after;
        fresh <= packet_ends;
        if (moved == 26'd0) job_began <= fresh;
        word <= push ? 64'd0 : new_word;
        strobe <= push ? 8'd0 : new_strobe;
        if (push) begin
          fifo[fifo_write[8:0]] <= {new_strobe, new_word};
          fifo_write <= fifo_write + 10'd1;
        end
        if (commit) begin
          queue[queue_write[2:0]] <= {burst_address, commit_words};
          queue_write <= queue_write + 4'd1;
          fifo_committed <= fifo_write + {9'd0, push};
          burst_address <= after;
          burst_words <= 9'd0;
        end else burst_words <= commit_words;
        if (ends) begin
          input_done <= 1'b1;
          job_ended <= packet_ends;
          if (!scatter_gather && !packet_ends) error <= 2'd1;
        end
      end

      if (addressed) queue_address <= queue_address + 4'd1;
      if (written) begin
        fifo_read <= fifo_read + 10'd1;
        beat <= m_axi_wlast ? 9'd0 : beat + 9'd1;
        if (m_axi_wlast) queue_data <= queue_data + 4'd1;
      end
      unanswered <= unanswered + {3'd0, addressed} - {3'd0, m_axi_bvalid};
      if (m_axi_bvalid && m_axi_bresp != 2'd0 && error < 2'd2) error <= m_axi_bresp;

      if (finished) begin
        active <= 1'b0;
        job_done <= 1'b1;
        // Words of a burst that was not complete are forgotten.
        fifo_write <= fifo_committed;
      end
    end
  end

  function [63:0] keepBytes(input [3:0] number);
    keepBytes = number[3] ? {64{1'b1}} : (64'd1 << {number[2:0], 3'd0}) - 64'd1;
  endfunction

  function [7:0] keepStrobes(input [3:0] number);
    keepStrobes = number[3] ? 8'hff : (8'd1 << number[2:0]) - 8'd1;
  endfunction

  // TKEEP has no gaps: AXI DMA takes packed streams only (PG021, "Streaming").
  function [3:0] countKeep(input [7:0] keep);
    integer i;
    begin
      countKeep = 4'd0;
      for (i = 0; i < 8; i = i + 1) countKeep = countKeep + {3'd0, keep[i]};
    end
  endfunction

endmodule
